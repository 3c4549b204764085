"""Guards refuse pairs of questions that no similarity may equate: `refusal.py` is their table, each other file one of them."""
