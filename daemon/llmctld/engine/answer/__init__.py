"""From logits to text: sampling options, the next token, reasoning apart from the answer, stop strings."""
