"""Where other programs keep their model files, a file for each program. It reads their stores and never writes there.

A model is found by names, links and small text files; what is in a model file, and whether it fits, is the hub's to say.
"""
