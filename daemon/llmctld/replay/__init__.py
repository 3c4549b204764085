"""What `llmctl cache replay` runs in a process of its own, since it computes for seconds and a hub must not."""
