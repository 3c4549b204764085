"""What may never be equated: `refusal.py` is the table of guards, and each other file is what one of them reads."""
