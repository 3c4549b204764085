"""The path of a request: stages of one shape, each around the next; their order is one list in app.py."""
