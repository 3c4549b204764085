"""Where answers are kept: a memory level before a disk level, both behind one contract."""
