"""What `llmctl daemon doctor` runs in a process of its own: it looks at everything and changes nothing."""
