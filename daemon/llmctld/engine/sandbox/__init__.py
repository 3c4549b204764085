"""Chat templates run in a child process with limits of time and memory: they come from strangers."""
