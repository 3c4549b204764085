"""HTTP to an endpoint: retries, time limits, errors, events."""
