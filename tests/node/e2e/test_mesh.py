"""Real daemons of which not all are connected with all: blocks, tasks, topics and farewells get to everybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.e2e.daemons import PROGRAM, Daemon, Fleet, await_agreement, until

pytestmark = pytest.mark.timeout(240)

NODES = 9
HABITS = "full_mesh_up_to = 3\nmesh_neighbours = 2\n"


def join(fleet: Fleet) -> list[Daemon]:
    """One validator and eight observers, all of whom keep two neighbours of their own."""
    members = [fleet.new(f"node{at}", ("embed",)) for at in range(NODES)]
    for one in members:
        one.configure(HABITS)
    founder, newcomers = members[0].start(), members[1:]
    invites = [founder.command("invite", "--json").json["invite"] for _ in newcomers]
    for one, invite in zip(newcomers, invites, strict=True):
        one.launch("--bootstrap", invite)
    for one in newcomers:
        one.started()
    for one in members:
        until(lambda one=one: alive(one) == NODES - 1, f"{one.name} to see all others alive", 90)  # type: ignore[misc]
    return members


def alive(one: Daemon) -> int:
    return sum(peer.status == "alive" for peer in one.client.peers().peers)


def connected(one: Daemon) -> set[str]:
    return {peer.node_id for peer in one.client.peers().peers if peer.traffic is not None}


def unconnected(some: list[Daemon]) -> tuple[Daemon, Daemon] | None:
    """Two that are not connected with each other; there are some, since each keeps two and eight would do."""
    for one in some:
        near = connected(one)
        for other in some:
            if other is not one and other.id not in near:
                return one, other
    return None


def test_nine_daemons_live_with_few_connections(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        members = join(fleet)
        founder = members[0]
        pair = until(
            lambda: unconnected(members[1:]), "connections to be let go that nobody needs", 120
        )
        assert pair is not None
        far, stranger = pair
        assert far.client.not_ready() is None
        for one in members[1:]:
            founder.pay(one, 10)
        await_agreement(members)
        far.pay(founder, 1)
        _embed_at(far, stranger)
        _publish(stranger, far)
        assert stranger.end() == 0
        until(
            lambda: {_status(one, stranger) for one in members if one is not stranger} == {"left"},
            "all to hear the farewell",
        )
    finally:
        fleet.stop()


def _embed_at(asker: Daemon, executor: Daemon) -> None:
    """The hand-off goes to somebody who is no neighbour."""
    view = asker.client.submit_task("embed", {"texts": ["a"]}, executor.id, reward=1)
    assert asker.client.await_task(view.task_id, 60).status == "settled"


def _publish(publisher: Daemon, watcher: Daemon) -> None:
    with subprocess.Popen(
        [
            *PROGRAM,
            *("--home", str(watcher.home.path), "topic", "watch", "far/*", "--count", "1"),
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
    ) as watching:
        assert watching.stdout is not None

        def said() -> bool:
            publisher.command("topic", "publish", "far/away", '{"no": 1}')
            return watching.poll() is not None

        until(said, "the watcher to end")
        assert json.loads(watching.stdout.readline())["publisher"] == publisher.id


def _status(one: Daemon, other: Daemon) -> str:
    return next(peer.status for peer in one.client.peers().peers if peer.node_id == other.id)
