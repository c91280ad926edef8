"""Consensus and ledger in the daemon: `service.py` runs the engine; read models, events and snapshots around it."""
