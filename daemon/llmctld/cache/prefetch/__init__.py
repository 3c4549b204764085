"""Likely next requests, answered while nobody waits: what follows what, whether that paid, and the loop that does it."""
