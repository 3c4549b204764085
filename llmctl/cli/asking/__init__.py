"""`ask`, `chat` and `embed`: a request, and its answer on stdout."""
