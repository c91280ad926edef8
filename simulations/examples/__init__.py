"""Protocols of others, as examples of what `simulations.guest` takes."""
