"""The network: its tokens, its training and its file."""
