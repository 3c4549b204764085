"""How good the model is: its answers through the real engine, against the live command line, beside a baseline."""
