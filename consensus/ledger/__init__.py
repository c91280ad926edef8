"""The ledger: what blocks do to accounts, tasks, members and validators. `machine.py` executes, `state.py` holds."""
