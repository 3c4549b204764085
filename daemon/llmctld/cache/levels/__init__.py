"""The levels (memory, disk, shared), and the levels as one cache."""
