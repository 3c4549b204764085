"""A header that llama.cpp must be built with on some processors, and the check that finds out where."""
