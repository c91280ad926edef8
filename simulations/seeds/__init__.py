"""From a seed to a scenario: what kind of federation, which faults, which liars."""
