"""How much memory a model takes, from its header before it is loaded."""
