"""The engine: a process that holds one model, its sequences and the loop that steps them. Run as `python -m llmctld.engine FD`.

The hub is the other end of one socket; no other room is imported. A crash here ends nothing else.
"""
