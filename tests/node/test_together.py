"""Homes of a federation that many found together; daemons run in them in `e2e/test_large_set.py`."""

from __future__ import annotations

from pathlib import Path

from node.demo.cluster import Cluster
from node.demo.together import prepare_together
from node.founding import FOUNDER_AMOUNT, load_genesis, load_keys
from node.storage.home import Home


def test_every_home_has_its_own_keys_and_the_genesis_that_names_them_all(tmp_path: Path) -> None:
    genesis = prepare_together(Cluster(tmp_path), 12)
    homes = [Home(path) for path in sorted(tmp_path.iterdir())]
    assert len(homes) == 12
    seats = {(one.node, one.voting_key, one.power) for one in genesis.first_set().validators}
    keys = [load_keys(home) for home in homes]
    assert seats == {(one.identity.node_id, one.voting.public, 1) for one in keys}
    assert {load_genesis(home) for home in homes} == {genesis}
    assert sum(one.amount for one in genesis.founders) == FOUNDER_AMOUNT
