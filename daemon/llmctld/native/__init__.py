"""What is needed to build native libraries well: a header, and when it is called for."""
