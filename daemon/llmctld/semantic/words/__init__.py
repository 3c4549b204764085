"""Words as guards compare them: folded, stemmed, read as numbers and units, and looked up in tables."""
