"""Schemas and grammars: compiled, and the tokens that they allow next."""
