"""The same cores in a deterministic world: seeded, on virtual time, with faults on purpose."""
