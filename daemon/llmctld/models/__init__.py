"""Which models exist, which are loaded, and the hub's handle on each engine process."""
