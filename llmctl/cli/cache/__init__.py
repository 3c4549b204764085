"""`cache`: the stored answers."""
