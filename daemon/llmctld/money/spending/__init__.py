"""Who may spend how much: budgets, what was reserved and spent, and the ledger."""
