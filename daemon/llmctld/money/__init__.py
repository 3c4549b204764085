"""What work costs. The ledger, prices and alerts will stand here; the stages `budget` and `route` in pipeline/."""
