"""The decision whether a stored answer is served: `bound.py` makes it, each other file is a part of it."""
