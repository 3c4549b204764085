"""The process behind `llmctl models suggest`: what this machine gives to models."""
