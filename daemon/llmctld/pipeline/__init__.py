"""The stages of a request, and what only they need: async generators, each around the next, in the order of `build_pipeline`."""
