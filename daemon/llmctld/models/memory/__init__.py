"""How much memory a model takes, told from its header before it is loaded."""
