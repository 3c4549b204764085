"""From messages to the text a model reads: chat templates, thinking, control tokens, overflow."""
