"""Schemas and grammars: compiling them, and the tokens they allow next."""
