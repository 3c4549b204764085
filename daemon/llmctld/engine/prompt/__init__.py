"""From messages to the text a model reads: chat templates (in a sandbox), thinking, control tokens, overflow."""
