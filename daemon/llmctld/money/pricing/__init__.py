"""What an answer costs: prices, where they come from, machine time and energy."""
