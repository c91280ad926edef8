"""PBFT (Castro and Liskov 1999), weighted: `replica.py` first, then `voting.py` and `view_changing.py`."""
