"""What a running node can be asked (`facade.py`), and what callers get to see (`records.py`, `lists.py`)."""
