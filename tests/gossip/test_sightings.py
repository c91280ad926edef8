"""What is made of the announcements of others, and what a node without a federation does."""

from __future__ import annotations

import pytest

from gossip.codec import Digest
from gossip.identity import NodeId
from gossip.sightings import (
    MAX_HOSTS,
    ApplyTo,
    Choose,
    FoundOne,
    Sighting,
    decide,
    read_sighting,
)


def sighting(number: int, federation: int = 1, port: int = 7430) -> Sighting:
    return Sighting(
        NodeId(bytes([number]) * 32),
        f"node {number}",
        Digest(bytes([federation]) * 32),
        (f"192.168.1.{number}",),
        port,
    )


def test_who_hears_nobody_founds() -> None:
    assert decide([]) == FoundOne()


def test_who_hears_one_federation_applies_there_and_founds_nothing() -> None:
    heard = [sighting(3), sighting(2)]
    assert decide(heard) == ApplyTo(Digest(bytes([1]) * 32), (sighting(2), sighting(3)))


def test_a_node_that_is_heard_twice_counts_once_as_it_was_heard_last() -> None:
    moved = sighting(2, port=7431)
    assert decide([sighting(2), moved]) == ApplyTo(moved.federation, (moved,))


def test_between_several_federations_the_owner_chooses() -> None:
    heard = [sighting(2, federation=9), sighting(3, federation=1), sighting(4, federation=9)]
    assert decide(heard) == Choose((sighting(3, federation=1), sighting(2, federation=9)))


def test_what_is_announced_reads_back() -> None:
    one = sighting(7)
    assert read_sighting(one.properties(), one.hosts, one.port) == one


@pytest.mark.parametrize(
    "change",
    [
        {"v": "2"},
        {"v": None},
        {"node": "AB" * 32},
        {"node": "ab" * 31},
        {"federation": ""},
        {"federation": None},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "red \x1b[31m"},
        {"name": " ada"},
    ],
)
def test_what_makes_no_sense_is_not_heard(change: dict[str, str | None]) -> None:
    one = sighting(7)
    assert read_sighting({**one.properties(), **change}, one.hosts, one.port) is None


@pytest.mark.parametrize(("hosts", "port"), [((), 1), (("1.2.3.4",), 0), (("1.2.3.4",), None)])
def test_nobody_is_anywhere(hosts: tuple[str, ...], port: int | None) -> None:
    assert read_sighting(sighting(7).properties(), hosts, port) is None


def test_no_more_hosts_are_taken_than_a_node_may_have() -> None:
    one = read_sighting(sighting(7).properties(), ["10.0.0.1"] * 50, 7430)
    assert one is not None
    assert len(one.hosts) == MAX_HOSTS
