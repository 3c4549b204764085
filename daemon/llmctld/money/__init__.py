"""What work costs. Budgets, the ledger and routing will stand here."""
