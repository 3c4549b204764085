"""`models`, `ps` and `pull`: the models that are known, and those that are loaded."""
