"""The other nodes, as the daemon meets them: `service.py` is the one door for bytes from others."""
