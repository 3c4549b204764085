"""Instead of computing: a stored answer, an equal request in flight, the answer to a question of the same meaning."""
