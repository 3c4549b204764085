"""How long an answer stays valid."""
