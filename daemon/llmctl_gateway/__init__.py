"""The HTTP gateway: a client of the hub like any other, asynchronous. So far it has its link to the hub, and no HTTP.

Of llmctl it may import wire, errors, config and paths (contract in pyproject.toml); of the hub nothing.
"""
