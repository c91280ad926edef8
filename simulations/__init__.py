"""Floor 5, beside the daemon: a deterministic simulator for the real cores, `bizra-sim`.

A scenario says what happens to nodes from outside. `world.py` plays it for any cores: a heap of events in virtual time,
the codec, and between the nodes a network, disks, clocks and liars that do what the scenario and the seed's luck
(`draws.py`) say. `federation.py` runs Bizra's own cores in it, `guest_world.py` anybody else's (`guest.py`).
`oracles.py` judges after every event. `expand.py` makes scenarios from seeds, `library/` has named ones, `explore.py`
runs many, `shrink.py` makes the smallest of a failure, `recording.py` remembers a run, `report.py` draws it, and
`mutants.py` breaks the protocol on purpose to see who notices.

Nothing here reads a clock, opens a socket or draws in sequence: equal scenarios give equal runs, byte for byte.
"""
