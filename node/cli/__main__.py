"""`python -m node.cli` is `bizra-node`."""

from node.cli import main

main(prog_name="bizra-node")
