"""The process of `llmctl daemon doctor`: checks everything, changes nothing."""
