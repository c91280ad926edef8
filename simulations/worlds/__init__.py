"""Virtual time and all that can go wrong in it: network, disks, clocks, processes. `world.py` first."""
