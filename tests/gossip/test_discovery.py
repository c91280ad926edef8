"""Real mDNS between instances on loopback."""

from __future__ import annotations

import os

import pytest
import trio

from gossip.codec import Digest
from gossip.discovery import (
    Discovery,
    DiscoveryError,
    listen_for,
    multiaddrs_of,
    multicast_interfaces,
    open_discovery,
    own_place,
)
from gossip.identity import Ed25519Signer
from gossip.sightings import Sighting

NODE = Ed25519Signer(os.urandom(32)).node_id
HERE = ("127.0.0.1",)
PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def sighting(name: str, port: int = 7430) -> Sighting:
    return Sighting(NODE, name, Digest(bytes(32)), HERE, port)


async def hear_us(discovery: Discovery) -> Sighting:
    """Others may be at work on this loopback."""
    while True:
        sighting = await discovery.hear()
        if sighting.node == NODE:
            return sighting


async def test_one_hears_the_other_that_was_there_before() -> None:
    async with open_discovery(HERE) as first, open_discovery(HERE) as second:
        await first.announce(sighting("ada"))
        with trio.fail_after(10):
            assert await hear_us(second) == sighting("ada")


async def test_one_hears_the_other_that_comes_later() -> None:
    async with open_discovery(HERE) as first, open_discovery(HERE) as second:
        heard: list[Sighting] = []

        async def hear() -> None:
            heard.append(await hear_us(first))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear)
                await second.announce(sighting("ben"))
        assert heard == [sighting("ben")]


async def test_listening_ends_in_time_when_we_are_not_there() -> None:
    async with open_discovery(HERE) as discovery:
        with trio.fail_after(5):
            heard = await listen_for(discovery, 0.05)
        assert all(sighting.node != NODE for sighting in heard)


@pytest.mark.parametrize("interfaces", [(), HERE])
async def test_where_there_is_no_multicast_there_is_no_discovery(
    interfaces: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr("gossip.discovery.Zeroconf", refuse)
    with pytest.raises(DiscoveryError):
        async with open_discovery(interfaces):
            pass


def test_what_is_announced_is_where_others_can_dial() -> None:
    addresses = (
        f"/ip4/192.168.1.5/tcp/7430/p2p/{PEER}",
        f"/ip6/fd00::5/tcp/7430/p2p/{PEER}",
        f"/ip4/192.168.1.5/tcp/9/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/7430/p2p/{PEER}",
    )
    assert own_place(addresses) == (("192.168.1.5", "fd00::5"), 7430)
    assert multicast_interfaces(addresses) == ("192.168.1.5",)


def test_loopback_is_announced_on_loopback_alone() -> None:
    addresses = (f"/ip4/127.0.0.1/tcp/7430/p2p/{PEER}",)
    assert own_place(addresses) == (("127.0.0.1",), 7430)
    assert multicast_interfaces(addresses) == ("127.0.0.1",)


def test_who_has_no_address_announces_nothing() -> None:
    assert own_place(()) is None


def test_a_sighting_says_where_to_dial_and_who_must_be_there() -> None:
    heard = Sighting(NODE, "ada", Digest(bytes(32)), ("10.0.0.5", "fd00::5"), 7430)
    first, second = multiaddrs_of(heard)
    assert first.startswith("/ip4/10.0.0.5/tcp/7430/p2p/12D3KooW")
    assert second.startswith("/ip6/fd00::5/tcp/7430/p2p/12D3KooW")
