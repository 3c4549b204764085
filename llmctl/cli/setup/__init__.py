"""`templates`, `config` and `completion`: the files of the user's own that llmctl reads or writes."""
