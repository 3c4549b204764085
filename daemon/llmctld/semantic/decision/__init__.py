"""Whether a stored answer is served: how likely it is wrong, and whether that keeps `max_error`. `bound.py` decides."""
