"""A large set of real daemons: votes go by way of collectors, and when one of those is killed the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.pbft.reports import COLLECTED_FROM
from node.bench.traffic import messages_sent
from node.demo.cluster import Cluster, Member, until
from node.demo.together import found_together

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = 33
PAYMENTS = 10
WAIT_S = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()


def pay(payer: Member, payee: Member) -> None:
    """A transfer that must become final."""
    told = payer.client.transfer(payee.node_id, 1).tx_hash
    assert payer.client.await_transaction(told, WAIT_S).status == "finalized"


def test_thirty_three_daemons_decide_by_way_of_collectors_and_outlive_the_first_of_them(
    cluster: Cluster,
) -> None:
    assert SIZE >= COLLECTED_FROM
    founder = found_together(cluster, SIZE, lambda _: None)
    status = founder.client.status()
    assert (status.role, status.quorum, status.faults_tolerated) == ("validator", 23, 10)
    before, height = messages_sent(cluster.members), status.height
    for _ in range(PAYMENTS):
        pay(founder, cluster.members[1])
    blocks = founder.client.status().height - height
    sent = messages_sent(cluster.members) - before
    others = SIZE - 1
    assert sent["CollectedVotes"] >= 2 * others * blocks
    assert sent["Vote"] < SIZE * others * blocks, "all to all they are twice that"

    # The first collector of a block is its leader.
    leads = founder.client.status().primary
    killed = next(one for one in cluster.members[1:] if leads in (one.node_id, founder.node_id))
    cluster.kill(killed)
    left = [one for one in cluster.members if one is not killed]
    for _ in range(PAYMENTS):
        pay(founder, left[1])
    height = founder.client.status().height
    until(
        lambda: all(one.client.status().height >= height for one in left),
        WAIT_S,
        "the others did not all come so far",
    )
    views = [one.client.status() for one in left]
    assert len({(view.height, view.state_root) for view in views}) == 1
