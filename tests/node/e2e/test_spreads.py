"""Work over many real daemons, one of which is killed in the middle of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.e2e.daemons import Fleet, until

pytestmark = pytest.mark.timeout(180)

SENTENCES = [
    f"Number {at}: a node that is lost takes its part with it, and another does it again."
    for at in range(160)
]


def test_a_killed_nodes_parts_are_done_by_others_and_the_whole_is_right(
    fleet: Fleet, tmp_path: Path
) -> None:
    nodes = fleet.federation(4, {0: ()})
    asker, able = nodes[0], nodes[1:]
    given = {"texts": SENTENCES}
    begun = asker.client.submit_spread("embed", given)
    assert len(begun.parts) == 5

    def working_at() -> set[str]:
        view = asker.client.spread(begun.id)
        return {part.executor for part in view.parts if part.status == "working" and part.executor}

    victim = until(lambda: next((one for one in able if one.id in working_at()), None), "work")
    assert victim is not None
    victim.kill()
    ended = asker.client.await_spread(begun.id, 120)
    assert ended.status == "done", ended
    lost = [line for part in ended.parts for line in part.lost]
    assert any(line.startswith(victim.id[:12]) for line in lost), ended.parts
    assert {part.executor for part in ended.parts if part.tries > 1} <= {one.id for one in able}
    left = next(one for one in able if one is not victim)
    alone = left.client.await_task(left.client.submit_task("embed", given).task_id, 60)
    assert ended.output is not None
    assert alone.output is not None
    for ours, theirs in zip(ended.output["vectors"], alone.output["vectors"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)

    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "moon.md").write_text("The moon is far away. " * 60 + "Its dust smells of powder.")
    asked = asker.command(
        "task",
        "submit",
        "answer",
        "--input",
        str(folder),
        "--query",
        "What does its dust smell of?",
        "--spread",
        "--wait",
        "--json",
    )
    assert asked.code == 0, asked
    shown = asker.command("spread", "list")
    assert shown.out.count(" done ") == 2, shown
    assert "powder" in asked.out
