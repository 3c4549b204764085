"""Prefetch: computes likely next requests while the hub is idle. Learns sequences, and whether it pays."""
