"""Floor 5, beside the daemon: a deterministic simulator for the real cores, `bizra-sim`.

A scenario (`scenario.py`; as TOML `scenario_file.py`) says what happens to nodes from outside. `worlds/world.py` plays
it for any cores: a heap of events in virtual time, the codec, and between the nodes a network, disks, clocks and
processes that do what the scenario and the seed's luck (`worlds/draws.py`) say. `federation.py` runs consensus in it,
`tasks/` whole nodes, `members.py` membership, `guest_world.py` anybody else's core (`guest.py`). `liars/` are nodes
that lie; `oracles.py` and `history.py` judge. `registrar.py` and `upgrades.py` are what operators do: about
seats and keys, and to go on to a newer protocol.

`seeds/` makes scenarios of seeds, `library/` has named ones. `hunting/` runs many, makes the smallest of a failure, and
breaks the protocol on purpose to see who notices; `exhaust/` walks through all that may happen to a few replicas.
`recording.py` remembers a run, `report.py` draws it.

Nothing here reads a clock, opens a socket or draws in sequence: equal scenarios give equal runs, byte for byte.
"""
