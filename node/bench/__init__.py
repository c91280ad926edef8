"""`bizra-node bench`: what the node costs, measured on real daemons beside the limits of the same machine.

`limits.py` measures what cannot be beaten (signature checks, synced writes), `load.py` is the clients, `consensus.py`
puts both around a federation of real processes.
"""
