"""The stages of a request and nothing else: async generators, each around the next, in the order of `build_pipeline` (app.py)."""
