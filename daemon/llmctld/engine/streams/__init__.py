"""What each stream of the KV memory holds: sequences, shared prefixes, checkpoints, saved states."""
