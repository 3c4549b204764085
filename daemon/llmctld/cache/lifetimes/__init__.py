"""How long an answer holds."""
