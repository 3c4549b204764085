"""The process of `llmctl cache replay`, which computes for seconds and must not block a hub."""
