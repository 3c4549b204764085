"""Words as guards compare them: folded, read as numbers and units, and looked up in tables."""
