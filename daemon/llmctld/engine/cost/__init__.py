"""What a step takes: times per token, per row and per thread, measured or (in tests) counted."""
