"""The loop of an engine: who runs, what the next step computes, and the seam to the model behind it."""
