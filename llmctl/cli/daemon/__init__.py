"""`daemon`: the hub as a process."""
