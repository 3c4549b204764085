"""Models behind an endpoint with OpenAI's HTTP API."""
