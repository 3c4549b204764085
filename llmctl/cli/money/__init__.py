"""`budget`: who may spend how much."""
