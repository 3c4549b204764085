"""Engine processes as the hub drives them, and what is learned from their crashes."""
