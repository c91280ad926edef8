"""PeerIDs, multiaddrs, and the negotiation of protocols."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from gossip.identity import NodeId
from gossip.transport import (
    MEMBER_LIMITS,
    STRANGER_LIMITS,
    node_id_from_peer_id,
    peer_id_from_node_id,
)
from gossip.transport.address import Address, dialable
from gossip.transport.link import Allowance
from gossip.transport.multistream import NegotiationError, accept, encode_line, select

SOMEBODY = NodeId(bytes(range(32)))
PEER_ID = peer_id_from_node_id(SOMEBODY)


@given(st.binary(min_size=32, max_size=32))
def test_peer_ids_are_those_of_libp2p(seed: bytes) -> None:
    public = create_new_key_pair(seed).public_key
    node_id = NodeId(public.to_bytes())
    assert peer_id_from_node_id(node_id) == str(ID.from_pubkey(public))
    assert node_id_from_peer_id(str(ID.from_pubkey(public))) == node_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12D3KooW",
        "1" * 52,
        "z" * 52,
        PEER_ID[:-1] + "0",
        PEER_ID + "1",
        "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
        "16Uiu2HAm2mLmuAL6ZfNnvFfmuBFQ6EhPqz8xuX8s2YZ3Xh6s5Hq2",
    ],
)
def test_what_is_no_ed25519_peer_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PeerID"):
        node_id_from_peer_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/7430",
        "/ip6/::1/tcp/1",
        "/dns4/node.example.org/tcp/65535",
        f"/dns/localhost/tcp/7430/p2p/{PEER_ID}",
    ],
)
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text
    assert str(Multiaddr(text)) == text


@given(st.text(max_size=40) | st.from_regex(r"/(ip4|ip6|dns)/[^/]*/tcp/[^/]*(/p2p/.*)?"))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    with suppress(ValueError):
        address = Address.parse(text)
        assert Address.parse(str(address)) == address


def test_unspecified_addresses_become_those_of_interfaces_with_loopback_last() -> None:
    found = dialable([Address("ip4", "0.0.0.0", 7430), Address("ip4", "192.0.2.1", 1)])  # noqa: S104
    assert found[-1] == Address("ip4", "127.0.0.1", 7430)
    assert Address("ip4", "192.0.2.1", 1) in found
    assert not any(address.is_unspecified for address in found)


class Script:
    """A byte stream whose other side has said everything already."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.heard = b""

    async def read_exactly(self, size_bytes: int) -> bytes:
        if len(self.said) < size_bytes:
            raise ConnectionError("the end")
        data, self.said = self.said[:size_bytes], self.said[size_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        self.heard += data


HEADER = encode_line("/multistream/1.0.0")


async def test_a_listener_takes_the_first_protocol_that_it_serves() -> None:
    stream = Script(HEADER + encode_line("/a") + encode_line("/b") + encode_line("/c") + b"rest")
    assert await accept(stream, {"/b", "/c"}) == "/b"
    assert stream.heard == HEADER + encode_line("na") + encode_line("/b")
    assert stream.said == encode_line("/c") + b"rest"


async def test_a_dialer_gets_what_it_asks_for_or_an_error() -> None:
    long_name = "/" + "x" * 300
    await select(Script(HEADER + encode_line(long_name)), long_name)
    with pytest.raises(NegotiationError, match="doesn't serve /a"):
        await select(Script(HEADER + encode_line("na")), "/a")
    with pytest.raises(NegotiationError):
        await select(Script(HEADER + encode_line("/b")), "/a")


async def test_a_dialer_that_asks_for_ever_is_refused() -> None:
    with pytest.raises(NegotiationError, match="too many"):
        await accept(Script(HEADER + encode_line("/a") * 1000), {"/b"})


@given(st.binary(max_size=300))
async def test_no_bytes_do_worse_than_a_negotiation_error(garbage: bytes) -> None:
    for said in (garbage, HEADER + garbage):
        for negotiation in (accept(Script(said), {"/a"}), select(Script(said), "/a")):
            with suppress(NegotiationError, ConnectionError):
                await negotiation


def test_an_allowance_lets_a_burst_through_and_then_holds_the_rate() -> None:
    limits = dataclasses.replace(STRANGER_LIMITS, bytes_per_s=1000, burst_bytes=20_000)
    allowance = Allowance()
    assert allowance.spend(0.0, 20_000, limits) == 0
    assert allowance.spend(0.0, 500, limits) == 0.5
    assert allowance.spend(0.5, 1000, limits) == 1
    assert allowance.spend(1000.0, 20_000, limits) == 0
    assert allowance.spend(1000.0, 100, limits) == pytest.approx(0.1)


def test_an_allowance_grows_when_the_peer_is_admitted() -> None:
    allowance = Allowance()
    assert allowance.spend(0.0, 500_000, STRANGER_LIMITS) > 10
    assert allowance.spend(1.0, 500_000, MEMBER_LIMITS) == 0
