"""Questions and answers: what is written by hand, and the many ways to say it."""
