"""Requests that the hub makes by itself: one way in, `Background.generate`, through the pipeline of all others."""
