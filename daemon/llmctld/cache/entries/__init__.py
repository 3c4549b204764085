"""Metadata of cache entries, without their answers."""
