"""Tasks in the daemon: `service.py` carries out what the task desk asks for; groups, spreads and peers beside it."""
