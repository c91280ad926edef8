"""Files between real daemons, through the command line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.node.e2e.daemons import Daemon

pytestmark = pytest.mark.timeout(120)

SIZE = 9_000_001


def test_a_file_goes_to_another_node_by_its_hash(four: list[Daemon], tmp_path: Path) -> None:
    giver, taker = four[0], four[1]
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(random.Random(6).randbytes(SIZE))
    added = giver.command("transfer", "add", given, "--json")
    assert added.code == 0, added
    name = added.json["content_id"]
    fetched = taker.command("transfer", "get", name, "--output", got, "--json")
    assert fetched.code == 0, fetched
    assert fetched.json["sources"] == {giver.id: SIZE}
    assert got.read_bytes() == given.read_bytes()
    # Two have it now, and a third one asks both.
    third = four[2].command("transfer", "get", name, "--json").json
    assert set(third["sources"]) <= {giver.id, taker.id}
    # A chunk that is late is asked for elsewhere, and may then come twice.
    assert SIZE <= sum(third["sources"].values()) < 2 * SIZE
    listed = taker.command("transfer", "list")
    assert name in listed.out
    for one in four[:3]:
        assert one.command("transfer", "remove", name[:12]).code == 0


def test_a_content_that_nobody_has_is_told_so(four: list[Daemon]) -> None:
    ended = four[0].command("transfer", "get", "ab" * 32)
    assert ended.code == 1
    assert "none of the 3 members" in ended.err


def test_what_is_wrong_is_told_with_what_to_do(four: list[Daemon], tmp_path: Path) -> None:
    missing = four[0].command("transfer", "add", tmp_path / "nothing")
    assert missing.code == 1
    assert "nothing can't be read" in missing.err
    unknown = four[0].command("transfer", "get", "xyz")
    assert unknown.code == 1
    assert "'xyz' is no content id" in unknown.err
