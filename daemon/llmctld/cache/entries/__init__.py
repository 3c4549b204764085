"""What is known of each entry without its answer."""
