"""From logits to text: what a request asks of sampling, the next token, thinking told apart, stop strings."""
