"""The hub and its engines: everything that stays running behind the `llmctl` command."""
