"""A stock py-libp2p host, muxer and all, against the real transport."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from gossip.transport import DialError, DialFailure, peer_id_from_node_id
from gossip.transport.libp2p import GOSSIP

from .conftest import World, seed_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def _stock_leaks() -> Iterator[None]:
    """The stock host leaves sockets to the collector; have it come while that is ignored."""
    yield
    gc.collect()


async def test_a_stock_host_identifies_us_and_pings_us_and_is_no_peer(real: World) -> None:
    alice = await real.node("alice")
    host = new_host(key_pair=create_new_key_pair(seed_of("stock")))
    info = info_from_p2p_addr(Multiaddr(alice.addresses()[0]))
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        with trio.fail_after(20):
            await host.connect(info)
            for _ in range(3):
                rtts = await PingService(host).ping(info.peer_id, 3)
                assert len(rtts) == 3
            stream = await host.new_stream(info.peer_id, [IDENTIFY])
            answer = parse_identify_response(await stream.read(8192))
            assert answer.public_key.endswith(alice.node_id)
            assert GOSSIP in answer.protocols
            listening = Multiaddr(answer.listen_addrs[0])
            assert f"{listening}/p2p/{peer_id_from_node_id(alice.node_id)}" in alice.addresses()
            with pytest.raises(StreamFailure):
                await host.new_stream(info.peer_id, [TProtocol("/bizra/unheard-of/1")])
        assert alice.peers() == frozenset()


async def test_dialing_a_stock_host_says_that_it_is_no_node_of_ours(real: World) -> None:
    alice = await real.node("alice")
    host = new_host(key_pair=create_new_key_pair(seed_of("stock")))
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        (address, *_) = host.get_addrs()
        with pytest.raises(DialError) as caught:
            await alice.dial(str(address))
        assert caught.value.failure == DialFailure.NOT_A_NODE
        assert alice.peers() == frozenset()
