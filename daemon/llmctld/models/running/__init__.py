"""Loaded models: leases, replicas, who is loaded next, who makes room."""
