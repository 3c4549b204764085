"""Nearest-neighbour search over vectors, separately for each wall. In the hub only this room imports faiss and numpy,
on first use.
"""
