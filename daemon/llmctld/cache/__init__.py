"""The cache of answers: levels (memory, disk, shared) behind one contract, eviction, lifetimes and prefetch."""
