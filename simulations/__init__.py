"""Floor 5, beside the daemon: a deterministic simulator for the real cores, `bizra-sim`.

A `Scenario` says what happens to a federation from outside. `world.py` plays it: a heap of events in virtual time, the
real engines, the real codec, and between them a network, disks, clocks and liars that do what the scenario and the
seed's luck (`draws.py`) say. `oracles.py` judges after every event. `expand.py` makes scenarios from seeds,
`explore.py` runs many, `mutants.py` breaks the protocol on purpose to see whether anybody notices.

Nothing here reads a clock, opens a socket or draws in sequence: equal scenarios give equal runs, byte for byte.
"""
