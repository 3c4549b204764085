"""Which models exist, and which files they are."""
