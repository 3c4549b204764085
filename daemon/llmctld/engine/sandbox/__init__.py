"""Runs chat templates in a child process with limits on time and memory, because they come from strangers."""
