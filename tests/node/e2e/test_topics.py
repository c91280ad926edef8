"""Events on topics between real daemons, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.node.e2e.daemons import PROGRAM, Daemon, until

pytestmark = pytest.mark.timeout(60)


def test_who_watches_hears_what_another_node_publishes(four: list[Daemon]) -> None:
    publisher, watcher = four[1], four[3]
    with subprocess.Popen(
        [
            *PROGRAM,
            *("--home", str(watcher.home.path), "topic", "watch", "state/*/change"),
            *("--count", "2", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        heard: list[dict[str, object]] = []

        def said() -> bool:
            """Say it until the watcher is there."""
            publisher.command("topic", "publish", "state/other", '{"no": 1}')
            publisher.command("topic", "publish", "state/weather/change", '{"rain": true}')
            return watching.poll() is not None

        until(said, "the watcher to end")
        heard = [json.loads(line) for line in watching.stdout]
    assert [one["topic"] for one in heard] == ["state/weather/change"] * 2
    assert {one["publisher"] for one in heard} == {publisher.id}
    assert heard[0]["payload"] == {"rain": True}


def test_what_is_no_topic_is_told_so(four: list[Daemon]) -> None:
    for arguments, words in (
        (("publish", "a//b"), "no topic"),
        (("publish", "a", "not json"), "not JSON"),
        (("publish", "a", "[1]"), "JSON object"),
        (("watch", "**/a"), "no pattern"),
    ):
        ended = four[0].command("topic", *arguments)
        assert ended.code == 1
        assert words in ended.err
