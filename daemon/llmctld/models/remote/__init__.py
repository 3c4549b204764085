"""A model behind an endpoint of the OpenAI kind."""
