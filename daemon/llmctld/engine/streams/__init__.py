"""Contents of the KV memory's streams: sequences, shared prefixes, checkpoints, saved states."""
