"""A transformers folder computed by torch."""
