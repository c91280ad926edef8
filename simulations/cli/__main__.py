"""`python -m simulations.cli` is `bizra-sim`."""

from simulations.cli import main

main()
