"""What computes an answer and checks it. `generate` is the innermost stage."""
