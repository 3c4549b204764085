"""Makes `guide`, the small language model of llmctl's own: its texts, its training, its file and how good it is.

It knows llmctl's documentation and command line; the hub and the client know only the file that it writes.
"""
