"""What a request is inside the hub: the Call, whose it is, its prompt, and what follows from them alone; no stage."""
