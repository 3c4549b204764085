"""Generates the word tables of the semantic cache that come from CLDR and WordNet."""
