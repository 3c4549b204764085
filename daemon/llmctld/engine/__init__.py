"""One engine process: a model, its sequences and the loop that steps them; started as `python -m llmctld.engine FD`.

It knows the hub only as the other end of one socket and imports no other room: a crash in here ends nothing else.
"""
