"""Scheduled canaries on real nodes: nobody asks for anything, and the honest, lying and terse are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.views.records import JsonObject, TrustView
from tests.node.e2e.chat_town import LIE, post
from tests.node.e2e.daemons import Daemon, Fleet, until
from tests.node.e2e.model_servers import OwnServer, table

pytestmark = pytest.mark.timeout(240)

TERSE_WORDS = 2
"""Fewer tokens than can be compared."""


def test_canaries_find_the_liar_clear_the_honest_and_leave_open_what_can_not_be_told(
    fleet: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"the weights of a model")
    own = OwnServer(file, model="own")
    servers = [
        OwnServer(file, model="honest"),
        OwnServer(file, model="liar", certainty=LIE),
        OwnServer(file, model="terse", words=TERSE_WORDS),
    ]
    try:
        for server in (own, *servers):
            server.start()
        # What is asked as a canary is not looked at a second time as one of a hundred answers.
        settings = {0: "canary_every_s = 1\naudit_per_cent = 100\n" + table(own)}
        settings |= {at: table(server) for at, server in enumerate(servers, 1)}
        kinds: dict[int, tuple[str, ...]] = {0: (), 1: ("chat",), 2: ("chat",), 3: ("chat",)}
        asker, honest, liar, terse = fleet.federation(4, {**kinds}, settings)
        seen: dict[str, list[TrustView]] = {honest.id: [], liar.id: [], terse.id: []}

        def looked() -> bool:
            """Whether the liar is asked no more, and both others were asked twice at least since."""
            for row in asker.client.trust().peers:
                if not seen[row.node_id] or seen[row.node_id][-1] != row:
                    seen[row.node_id].append(row)
            if not all(seen.values()) or seen[liar.id][-1].asked:
                return False
            return seen[honest.id][-1].matches > 3 and seen[terse.id][-1].inconclusive > 3

        until(looked, "canaries to tell the three apart", 120)

        for row in seen[honest.id]:
            assert (row.mismatches, row.inconclusive, row.trust, row.asked) == (0, 0, 1000, True)
        for row in seen[terse.id]:
            assert (row.matches, row.mismatches, row.trust, row.asked) == (0, 0, 1000, True)
        by_mismatches = {row.mismatches: row for row in seen[liar.id]}
        assert by_mismatches.keys() == {1, 2, 3}, "after the third it is asked no more"
        assert all(row.matches == row.inconclusive == 0 for row in by_mismatches.values())
        assert (by_mismatches[1].trust, by_mismatches[1].asked) == (1000, True)
        assert by_mismatches[2].trust < 1000
        assert by_mismatches[2].asked
        assert servers[1].asked() == 3

        paid(asker, liar, 3)
        refused = post(asker, _ask("liar"), x_bizra_peers="1")
        assert refused.status_code == 503
        assert "were not of the model" in refused.json()["error"]["message"]
        answer = post(asker, _ask("honest"), x_bizra_peers="1")
        assert answer.headers["x-bizra-backend"] == f"peer:{honest.id[:12]}"
    finally:
        for server in (own, *servers):
            server.kill()


def _ask(model: str) -> JsonObject:
    return {"model": model, "messages": [{"role": "user", "content": "Recite."}], "max_tokens": 5}


def paid(asker: Daemon, executor: Daemon, count: int) -> None:
    """A canary is a task like any other: each was settled."""

    def settled() -> int:
        rows = asker.client.tasks(100).tasks
        return sum(
            (row.kind, row.executor, row.status) == ("chat", executor.id, "settled") for row in rows
        )

    until(lambda: settled() == count, "the canaries to be settled")
