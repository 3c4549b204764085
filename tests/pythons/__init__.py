"""What `make test-pythons` runs: the built package in each Python that is here."""
