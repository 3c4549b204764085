"""Models: which ones exist, which are loaded, and how requests reach them."""
