"""The levels (memory, disk, shared) and the cache made of them."""
