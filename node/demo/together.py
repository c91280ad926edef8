"""A federation that many nodes of this machine found together: all of them validate from its first block on.

Growing to a large set takes a word of most validators for each newcomer; this takes a start of each daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from consensus.genesis import Founder, Genesis
from consensus.genesis import found as found_by
from node.demo.cluster import Cluster, Member, until
from node.demo.growth import ALL_KINDS, NAMES, WAIT_S, grow, knows_all, names
from node.founding import FOUNDER_AMOUNT, begin_chain, prepare
from node.storage.home import Home

_NO_WORK: tuple[str, ...] = ()
_EACH_S = 4.0
"""So long one of them may take to find all others, for each that there is."""


def begin(cluster: Cluster, nodes: int, say: Callable[[str], None]) -> Member:
    """So many validators: up to ten come one after the other, more found together. Raises `NodeError`."""
    if nodes <= len(NAMES):
        return grow(cluster, nodes, say)
    return found_together(cluster, nodes, say)


def found_together(cluster: Cluster, nodes: int, say: Callable[[str], None]) -> Member:
    """Start `nodes` daemons that a genesis names as validators of equal power; the first of them.

    Raises `NodeError`.
    """
    genesis = prepare_together(cluster, nodes)
    founder = cluster.start(NAMES[0], ALL_KINDS if nodes == 1 else _NO_WORK, None)
    for name in names(nodes)[1:]:
        cluster.start(name, _NO_WORK, founder.address)
    tolerated = genesis.first_set().faults_tolerated
    say(f"{nodes} daemons are up, founders of one federation: {tolerated} may fail")
    for member in cluster.members:
        patience_s = max(WAIT_S, _EACH_S * nodes)
        until(partial(knows_all, member, nodes - 1), patience_s, f"{member.name} is not ready")
    return founder


def prepare_together(cluster: Cluster, nodes: int) -> Genesis:
    """Homes with keys and the genesis that names them all; the first has what there is to spend."""
    homes = [Home(cluster.folder / name) for name in names(nodes)]
    keys = [prepare(home) for home in homes]
    founders = tuple(
        Founder(one.identity.node_id, one.voting.public, 1, 0 if at else FOUNDER_AMOUNT)
        for at, one in enumerate(keys)
    )
    genesis = found_by("together", time.time_ns() // 1_000_000, founders)
    for home in homes:
        begin_chain(home, genesis)
    return genesis
