"""What a run's ledger says, for other programs."""
