"""Loaded models: leases, replicas, which model is loaded next, which is unloaded for it."""
