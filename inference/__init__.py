"""Tasks to answers: local model backends, placement, and signed receipts for the work done."""
