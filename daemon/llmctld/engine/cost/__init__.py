"""What a step costs: time per token, per row and per thread, measured or (in tests) fixed."""
