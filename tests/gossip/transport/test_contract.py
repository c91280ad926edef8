"""What every transport promises, checked on the real one and on its twin."""

from __future__ import annotations

import dataclasses

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gossip.identity import NodeId
from gossip.transport import (
    MEMBER_LIMITS,
    STRANGER_LIMITS,
    DialError,
    DialFailure,
    Frame,
    PeerDown,
    PeerUp,
    Stream,
    StreamError,
    Transport,
    peer_id_from_node_id,
)
from gossip.transport.outbox import OutboxBounds

from .conftest import Budgets, World, next_event, pending_events, until

ECHO = "/bizra/test-echo/1"
NARROW = dataclasses.replace(STRANGER_LIMITS, max_streams=2)
REFUSED = dataclasses.replace(STRANGER_LIMITS, max_frame_bytes=0)


async def connect(dialer: Transport, listener: Transport) -> None:
    """Dial, and take the `PeerUp` of both from their events."""
    assert await dialer.dial(listener.addresses()[0]) == listener.node_id
    await next_event(dialer, PeerUp)
    await next_event(listener, PeerUp)


async def echo(_peer: NodeId, stream: Stream) -> None:
    while (message := await stream.receive()) is not None:
        await stream.send(message)


async def test_both_sides_learn_of_a_connection_and_who_made_it(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    assert await alice.dial(bob.addresses()[0]) == bob.node_id
    up = await next_event(alice, PeerUp)
    assert up == PeerUp(bob.node_id, bob.addresses()[0], outbound=True)
    up = await next_event(bob, PeerUp)
    assert (up.peer, up.outbound) == (alice.node_id, False)
    assert up.address.endswith("/p2p/" + peer_id_from_node_id(alice.node_id))
    assert alice.peers() == {bob.node_id}
    assert bob.peers() == {alice.node_id}


async def test_addresses_name_the_node_and_exist_while_it_runs(world: World) -> None:
    alice = world.make("alice")
    assert alice.addresses() == ()
    await world.start(alice)
    assert all(
        address.endswith("/p2p/" + peer_id_from_node_id(alice.node_id))
        for address in alice.addresses()
    )


async def test_frames_keep_their_order_in_both_directions(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    for number in range(1000):
        assert alice.send(bob.node_id, number % 256, b"a%d" % number)
        assert bob.send(alice.node_id, number % 256, b"b%d" % number)
    for number in range(1000):
        channel = number % 256
        assert await next_event(bob, Frame) == Frame(alice.node_id, channel, b"a%d" % number)
        assert await next_event(alice, Frame) == Frame(bob.node_id, channel, b"b%d" % number)


async def test_frames_that_are_sent_together_arrive_with_those_before_and_after_in_order(
    world: World,
) -> None:
    alice, bob, carol = [await world.node(name) for name in ("alice", "bob", "carol")]
    await connect(alice, bob)
    await connect(alice, carol)
    for _ in range(3):
        assert alice.send(bob.node_id, 1, b"before")
        with alice.together:
            for number in range(20):
                assert alice.send(bob.node_id, 1, b"%d" % number)
                assert alice.send(carol.node_id, 1, b"%d" % number)
        assert alice.send(bob.node_id, 1, b"after")
        between = [b"%d" % number for number in range(20)]
        heard = [(await next_event(bob, Frame)).payload for _ in range(22)]
        assert heard == [b"before", *between, b"after"]
        assert [(await next_event(carol, Frame)).payload for _ in range(20)] == between


async def test_urgent_frames_overtake_bulk(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    for _ in range(100):
        assert alice.send(bob.node_id, 1, b"bulk")
    assert alice.send(bob.node_id, 2, b"first vote", urgent=True)
    assert alice.send(bob.node_id, 2, b"second vote", urgent=True)
    received = [(await next_event(bob, Frame)).payload for _ in range(102)]
    assert received[:2] == [b"first vote", b"second vote"]
    assert received[2:] == [b"bulk"] * 100


async def test_payloads_of_every_allowed_size_arrive_whole(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    sizes = [0, 1, 65_519, 65_536, 300_000, MEMBER_LIMITS.max_frame_bytes]
    for size in sizes:
        assert alice.send(bob.node_id, 1, bytes(size))
    assert [len((await next_event(bob, Frame)).payload) for _ in sizes] == sizes
    assert not alice.send(bob.node_id, 1, bytes(MEMBER_LIMITS.max_frame_bytes + 1))


async def test_a_full_queue_refuses_and_counts(world: World) -> None:
    alice = await world.node("alice", outbox=OutboxBounds(max_frames=3))
    bob = await world.node("bob")
    await connect(alice, bob)
    accepted = [alice.send(bob.node_id, 1, b"%d" % number) for number in range(5)]
    assert accepted == [True, True, True, False, False]
    stats = alice.stats()[bob.node_id]
    assert (stats.frames_dropped, stats.queued_frames) == (2, 3)
    assert [(await next_event(bob, Frame)).payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_stats_count_what_went_over(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    alice.send(bob.node_id, 1, b"12345")
    alice.send(bob.node_id, 1, b"678")
    for _ in range(2):
        await next_event(bob, Frame)
    sent, received = alice.stats()[bob.node_id], bob.stats()[alice.node_id]
    assert (sent.frames_out, sent.bytes_out, sent.queued_bytes) == (2, 8, 0)
    assert (received.frames_in, received.bytes_in) == (2, 8)
    assert (sent.outbound, received.outbound) == (True, False)


async def test_stats_tell_what_a_peer_takes_up_while_it_does(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    release = trio.Event()

    async def hold(_peer: NodeId, stream: Stream) -> None:
        await release.wait()
        while await stream.receive() is not None:
            pass

    bob.serve(ECHO, hold)
    await connect(alice, bob)
    idle = bob.stats()[alice.node_id]
    alice.send(bob.node_id, 1, bytes(70_000))
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        await stream.send(bytes(50_000))
        await until(lambda: bob.stats()[alice.node_id].memory_bytes >= 120_000)
        busy = bob.stats()[alice.node_id]
        assert busy.streams == idle.streams + 1
        assert busy.memory_bytes == busy.unread_bytes < 121_000
        await next_event(bob, Frame)
        release.set()
        await until(lambda: bob.stats()[alice.node_id].memory_bytes == 0)
    await until(lambda: bob.stats()[alice.node_id].streams == idle.streams)


async def test_stats_tell_what_waits_for_a_peer(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    for _ in range(100):
        alice.send(bob.node_id, 1, bytes(10_000))
    stats = alice.stats()[bob.node_id]
    assert 1_000_000 < stats.queued_bytes < 1_001_000
    assert stats.memory_bytes == stats.queued_bytes
    for _ in range(100):
        await next_event(bob, Frame)
    await until(lambda: alice.stats()[bob.node_id].memory_bytes == 0)


async def test_nothing_is_sent_to_a_stranger(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    assert not alice.send(bob.node_id, 1, b"hello?")
    with pytest.raises(StreamError):
        await alice.open_stream(bob.node_id, ECHO)
    await alice.disconnect(bob.node_id, "never met")
    assert alice.stats() == {}


async def test_disconnect_is_told_on_both_sides_and_can_be_mended_at_once(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    for _ in range(3):
        await connect(alice, bob)
        await alice.disconnect(bob.node_id, "enough for today")
        assert not alice.send(bob.node_id, 1, b"too late")
        assert await next_event(alice, PeerDown) == PeerDown(bob.node_id, "enough for today")
        assert (await next_event(bob, PeerDown)).peer == alice.node_id
        assert alice.peers() == bob.peers() == frozenset()


async def test_a_peer_that_stops_is_told_of_and_its_own_events_end(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    world.stop(bob)
    assert (await next_event(alice, PeerDown)).peer == bob.node_id
    rest = [event async for event in bob.events]
    assert rest == [PeerDown(alice.node_id, "this node stops")]


async def test_what_was_flushed_arrives_though_its_sender_stops_at_once(world: World) -> None:
    bob = await world.node("bob")
    for turn in range(10):
        alice = await world.node(f"alice {turn}")
        await connect(alice, bob)
        for number in range(100):
            assert alice.send(bob.node_id, 1, b"%d" % number)
        await alice.flushed()
        world.stop(alice)
        for number in range(100):
            assert (await next_event(bob, Frame)).payload == b"%d" % number
        await next_event(bob, PeerDown)


async def test_dialing_a_connected_peer_changes_nothing(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    assert await alice.dial(bob.addresses()[0]) == bob.node_id
    assert await bob.dial(alice.addresses()[0].partition("/p2p/")[0]) == alice.node_id
    assert await pending_events(alice) == []
    assert await pending_events(bob) == []
    assert alice.send(bob.node_id, 1, b"still there")
    assert (await next_event(bob, Frame)).payload == b"still there"


async def test_two_that_dial_each_other_at_once_are_one_peer_each(world: World) -> None:
    for attempt in range(8):
        alice, bob = await world.node(f"alice {attempt}"), await world.node(f"bob {attempt}")
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(alice.dial, bob.addresses()[0])
                nursery.start_soon(bob.dial, alice.addresses()[0])
        await next_event(alice, PeerUp)
        await next_event(bob, PeerUp)
        for number in range(20):
            assert alice.send(bob.node_id, 1, b"%d" % number)
            assert bob.send(alice.node_id, 1, b"%d" % number)
        for number in range(20):
            assert (await next_event(bob, Frame)).payload == b"%d" % number
            assert (await next_event(alice, Frame)).payload == b"%d" % number
        assert await pending_events(alice) == await pending_events(bob) == []


async def test_a_dial_says_what_went_wrong(world: World) -> None:
    alice, bob, carol = [await world.node(name) for name in ("alice", "bob", "carol")]
    gone = await world.node("gone")
    (address,) = gone.addresses()
    world.stop(gone)
    async for _ in gone.events:
        pass
    bob_place, _, _ = bob.addresses()[0].partition("/p2p/")
    cases = {
        "": DialFailure.BAD_ADDRESS,
        "localhost:7430": DialFailure.BAD_ADDRESS,
        "/ip4/127.0.0.1/udp/7430/quic-v1": DialFailure.BAD_ADDRESS,
        "/ip4/300.0.0.1/tcp/7430": DialFailure.BAD_ADDRESS,
        f"{bob_place}/p2p/QmNonsense": DialFailure.BAD_ADDRESS,
        alice.addresses()[0]: DialFailure.SELF,
        alice.addresses()[0].partition("/p2p/")[0]: DialFailure.SELF,
        f"{bob_place}/p2p/{peer_id_from_node_id(carol.node_id)}": DialFailure.WRONG_IDENTITY,
        address: DialFailure.REFUSED,
    }
    for text, failure in cases.items():
        with pytest.raises(DialError) as caught:
            await alice.dial(text)
        assert caught.value.failure == failure, text
        assert len(str(caught.value)) > 10
    assert alice.peers() == frozenset()
    assert await alice.dial(bob.addresses()[0]) == bob.node_id


async def test_who_is_not_admitted_at_all_does_not_come_up(world: World) -> None:
    alice = await world.node("alice")
    budgets = Budgets(special={alice.node_id: REFUSED})
    bob = await world.node("bob", budgets)
    with pytest.raises(DialError) as caught:
        await alice.dial(bob.addresses()[0])
    assert caught.value.failure == DialFailure.NOT_A_NODE
    assert alice.peers() == bob.peers() == frozenset()
    del budgets.special[alice.node_id]
    await connect(alice, bob)


async def test_a_frame_over_the_limit_ends_the_connection(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob", Budgets(NARROW))
    await connect(alice, bob)
    alice.send(bob.node_id, 1, b"short enough")
    alice.send(bob.node_id, 1, bytes(STRANGER_LIMITS.max_frame_bytes + 1))
    assert (await next_event(bob, Frame)).payload == b"short enough"
    assert "more than 16384" in (await next_event(bob, PeerDown)).reason
    await next_event(alice, PeerDown)


async def test_a_stranger_that_is_admitted_grows_at_once(world: World) -> None:
    alice, budgets = await world.node("alice"), Budgets(STRANGER_LIMITS)
    bob = await world.node("bob", budgets)
    await connect(alice, bob)
    budgets.special[alice.node_id] = MEMBER_LIMITS
    assert alice.send(bob.node_id, 1, bytes(MEMBER_LIMITS.max_frame_bytes))
    await next_event(bob, Frame)


async def test_who_does_not_read_holds_back_and_loses_nothing_that_was_accepted(
    world: World,
) -> None:
    alice = await world.node("alice", outbox=OutboxBounds(max_frames=10))
    bob = await world.node("bob")
    await connect(alice, bob)
    accepted = 0
    # As long as bob takes more, the queue empties between two looks at it.
    while alice.stats()[bob.node_id].frames_dropped < 50:
        accepted += alice.send(bob.node_id, 1, accepted.to_bytes(4) + bytes(200_000))
        await wait_all_tasks_blocked(0.001)
    held_bytes = bob.events.used_bytes  # type: ignore[attr-defined]
    assert held_bytes < 9 * 2**20
    assert accepted * 200_000 < 16 * 2**20
    for number in range(accepted):
        assert (await next_event(bob, Frame)).payload[:4] == number.to_bytes(4)


async def test_a_stream_carries_a_request_and_its_reply(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    callers = []

    async def shout(peer: NodeId, stream: Stream) -> None:
        callers.append((peer, stream.peer))
        message = await stream.receive()
        assert message is not None
        await stream.send(message.upper())

    bob.serve(ECHO, shout)
    await connect(alice, bob)
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        assert stream.peer == bob.node_id
        await stream.send(b"hello")
        assert await stream.receive() == b"HELLO"
        assert await stream.receive() is None
    assert callers == [(alice.node_id, alice.node_id)]


async def test_a_stream_carries_tokens_one_by_one(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    read = trio.Semaphore(0)

    async def answer(_peer: NodeId, stream: Stream) -> None:
        for token in (b"Paris", b" is", b" the", b" capital", b""):
            await stream.send(token)
            await read.acquire()

    bob.serve(ECHO, answer)
    await connect(alice, bob)
    tokens = []
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        while (token := await stream.receive()) is not None:
            tokens.append(token)
            read.release()
    assert tokens == [b"Paris", b" is", b" the", b" capital", b""]


async def test_an_ended_side_can_still_receive(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")

    async def count(_peer: NodeId, stream: Stream) -> None:
        total = 0
        while (message := await stream.receive()) is not None:
            total += len(message)
        await stream.send(b"%d" % total)

    bob.serve(ECHO, count)
    await connect(alice, bob)
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        for _ in range(20):
            await stream.send(bytes(100_000))
        await stream.close()
        assert await stream.receive() == b"2000000"


async def test_many_streams_run_side_by_side(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    bob.serve(ECHO, echo)
    await connect(alice, bob)

    async def ask(number: int) -> None:
        async with await alice.open_stream(bob.node_id, ECHO) as stream:
            for part in range(3):
                await stream.send(b"%d %d" % (number, part))
            for part in range(3):
                assert await stream.receive() == b"%d %d" % (number, part)

    async with trio.open_nursery() as nursery:
        for number in range(MEMBER_LIMITS.max_streams):
            nursery.start_soon(ask, number)


async def test_streams_are_given_back_when_they_end(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob", Budgets(NARROW))
    bob.serve(ECHO, echo)
    await connect(alice, bob)
    for _ in range(20):
        async with await alice.open_stream(bob.node_id, ECHO) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await stream.close()
            assert await stream.receive() is None


async def test_a_stream_too_many_is_refused_and_the_others_live(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob", Budgets(NARROW))
    bob.serve(ECHO, echo)
    await connect(alice, bob)
    async with (
        await alice.open_stream(bob.node_id, ECHO) as first,
        await alice.open_stream(bob.node_id, ECHO) as second,
    ):
        for stream in (first, second):
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        with pytest.raises(StreamError):
            async with await alice.open_stream(bob.node_id, ECHO) as third:
                await third.receive()
        await first.send(b"hello")
        assert await first.receive() == b"hello"


async def test_a_protocol_that_nobody_serves_is_refused(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    await connect(alice, bob)
    with pytest.raises(StreamError, match="serve"):
        await alice.open_stream(bob.node_id, "/bizra/unheard-of/1")


async def test_a_handler_that_fails_costs_its_stream_and_nothing_else(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")

    async def fail(_peer: NodeId, stream: Stream) -> None:
        await stream.receive()
        raise AssertionError("a bug in a handler")

    bob.serve("/bizra/test-fail/1", fail)
    bob.serve(ECHO, echo)
    await connect(alice, bob)
    async with await alice.open_stream(bob.node_id, "/bizra/test-fail/1") as stream:
        await stream.send(b"go")
        with pytest.raises(StreamError):
            await stream.receive()
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


async def test_a_message_over_the_limit_is_neither_sent_nor_received(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob", Budgets(NARROW))
    caught = []

    async def swallow(_peer: NodeId, stream: Stream) -> None:
        try:
            await stream.receive()
        except StreamError as error:
            caught.append(str(error))
            raise

    bob.serve(ECHO, swallow)
    await connect(alice, bob)
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        with pytest.raises(StreamError, match="more than"):
            await stream.send(bytes(MEMBER_LIMITS.max_frame_bytes + 1))
        await stream.send(bytes(STRANGER_LIMITS.max_frame_bytes + 1))
        with pytest.raises(StreamError):
            await stream.receive()
    assert "more than 16384" in caught[0]


async def test_a_cancelled_caller_resets_its_stream(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    caught = trio.Event()

    async def wait(_peer: NodeId, stream: Stream) -> None:
        try:
            await stream.receive()
            await stream.receive()
        except StreamError:
            caught.set()
            raise

    bob.serve(ECHO, wait)
    await connect(alice, bob)
    with trio.CancelScope() as scope:
        async with await alice.open_stream(bob.node_id, ECHO) as stream:
            await stream.send(b"I'll be right back")
            scope.cancel()
            await stream.receive()
    with trio.fail_after(5):
        await caught.wait()


async def test_a_handler_is_cancelled_when_its_peer_goes_and_holds_up_nobody(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    release, begun, ended = trio.Event(), trio.Event(), trio.Event()

    async def dawdle(_peer: NodeId, _stream: Stream) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await release.wait()
            ended.set()

    bob.serve(ECHO, dawdle)
    await connect(alice, bob)
    await alice.open_stream(bob.node_id, ECHO)
    await begun.wait()
    await alice.disconnect(bob.node_id, "gone")
    assert (await next_event(bob, PeerDown)).peer == alice.node_id
    await next_event(alice, PeerDown)
    await connect(alice, bob)
    release.set()
    with trio.fail_after(5):
        await ended.wait()


async def test_streams_are_cut_when_the_peer_goes(world: World) -> None:
    alice, bob = await world.node("alice"), await world.node("bob")
    bob.serve(ECHO, echo)
    await connect(alice, bob)
    stream = await alice.open_stream(bob.node_id, ECHO)
    await stream.send(b"hello")
    assert await stream.receive() == b"hello"
    await bob.disconnect(alice.node_id, "closing time")
    with pytest.raises(StreamError):
        await stream.receive()
    with pytest.raises(StreamError):
        await stream.send(b"anybody?")
    await stream.reset()
    await stream.reset()
    await until(lambda: not alice.peers())
