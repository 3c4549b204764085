"""Drafts from the text itself, and whether drafted tokens pay."""
