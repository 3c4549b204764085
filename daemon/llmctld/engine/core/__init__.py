"""The loop of an engine: who runs, what the next step computes, and the interface to the model."""
