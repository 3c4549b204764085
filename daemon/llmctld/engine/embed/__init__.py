"""Embedding models: their loop, and the two libraries that compute them."""
