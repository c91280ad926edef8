"""What users can ask of the ledger, under their signatures: `transactions.py` first."""
