"""The HTTP gateway: a client of the hub like any other, asynchronous. So far it has its link to the hub, and no HTTP.

Of llmctl it may import wire, errors, config, paths, presence and dealer; of the hub nothing (tests/meta/test_house.py).
"""
