"""HTTP to such an endpoint: attempts, limits, errors, events."""
