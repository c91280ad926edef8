"""Two nodes with a bad line between them: slow, narrow, cut, and open with nothing coming through."""

from __future__ import annotations

import pytest
import trio

from gossip.transport import DialError, Frame, PeerDown, PeerUp, Transport, peer_id_from_node_id
from gossip.transport.outbox import MAX_WRITE_BYTES, OutboxBounds

from .conftest import World, next_event, until
from .proxy import Proxy


async def line_to(world: World, far: Transport) -> tuple[Proxy, str]:
    """A proxy in front of a node, and the address to dial it through that."""
    port = int(far.addresses()[0].split("/tcp/")[1].split("/")[0])
    proxy = Proxy(port)
    door = await world.nursery.start(proxy.run)
    return proxy, f"/ip4/127.0.0.1/tcp/{door}/p2p/{peer_id_from_node_id(far.node_id)}"


async def connected(world: World, near: Transport, far: Transport) -> tuple[Proxy, str]:
    proxy, address = await line_to(world, far)
    assert await near.dial(address) == far.node_id
    await next_event(near, PeerUp)
    await next_event(far, PeerUp)
    return proxy, address


async def test_a_long_line_carries_everything_in_order_and_shows_its_length(real: World) -> None:
    near, far = await real.node("near"), await real.node("far")
    proxy, _ = await connected(real, near, far)
    proxy.delay_s = 0.05
    for number in range(200):
        assert near.send(far.node_id, 1, b"%d" % number)
    for number in range(200):
        assert (await next_event(far, Frame)).payload == b"%d" % number
    await until(lambda: (near.stats()[far.node_id].round_trip_ms or 0) >= 100)


async def test_a_cut_line_is_told_at_once_and_dialed_again_at_once(real: World) -> None:
    near, far = await real.node("near"), await real.node("far")
    proxy, address = await connected(real, near, far)
    with trio.fail_after(1):
        proxy.cut()
        await next_event(near, PeerDown)
        await next_event(far, PeerDown)
    assert await near.dial(address) == far.node_id
    await next_event(near, PeerUp)
    await next_event(far, PeerUp)
    assert near.send(far.node_id, 1, b"again")
    assert (await next_event(far, Frame)).payload == b"again"


async def test_a_line_on_which_nothing_comes_any_more_is_given_up_by_both(real: World) -> None:
    near, far = await real.node("near"), await real.node("far")
    proxy, _ = await connected(real, near, far)
    proxy.swallows = True
    for one in (near, far):
        down = await next_event(one, PeerDown)
        assert "silent" in down.reason


async def test_a_short_silence_is_borne(real: World) -> None:
    near, far = await real.node("near"), await real.node("far")
    proxy, _ = await connected(real, near, far)
    proxy.delay_s = 0.3
    assert near.send(far.node_id, 1, b"late")
    assert (await next_event(far, Frame)).payload == b"late"
    assert near.peers() == {far.node_id}


async def test_a_narrow_line_fills_the_queue_and_not_the_memory(real: World) -> None:
    bounds = OutboxBounds(max_frames=64, max_bytes=2**20)
    near, far = await real.node("near", outbox=bounds), await real.node("far")
    proxy, _ = await connected(real, near, far)
    proxy.bytes_per_s = 2_000_000
    taken = 0
    while near.send(far.node_id, 1, bytes(16_000)) and taken < 2000:
        taken += 1
        await trio.lowlevel.checkpoint()
    stats = near.stats()[far.node_id]
    assert taken < 2000
    assert stats.frames_dropped == 1
    # What has left the queue waits in the connection: two batches at most.
    assert stats.queued_bytes <= bounds.max_bytes + 2 * MAX_WRITE_BYTES
    for _ in range(taken):
        assert len((await next_event(far, Frame)).payload) == 16_000
    assert near.send(far.node_id, 1, b"room again")


async def test_an_address_behind_which_nobody_answers_any_more_is_given_up_in_time(
    real: World,
) -> None:
    near, far = await real.node("near"), await real.node("far")
    proxy, address = await line_to(real, far)
    proxy.swallows = True
    with trio.fail_after(8), pytest.raises(DialError):
        await near.dial(address)
    assert near.peers() == frozenset()
