"""The bounded queues on both sides of a transport."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gossip.identity import NodeId
from gossip.transport import Frame, PeerDown, PeerUp
from gossip.transport.framing import FrameDecoder
from gossip.transport.inbox import EVENT_OVERHEAD_BYTES, HELD_PEER_BYTES, Inbox
from gossip.transport.outbox import MAX_WRITE_BYTES, Outbox, OutboxBounds

ALICE, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)


def frame(peer: NodeId, number: int) -> Frame:
    return Frame(peer, 0, number.to_bytes(4))


COST_BYTES = EVENT_OVERHEAD_BYTES + 4


async def test_one_peer_never_fills_the_inbox_for_all(nursery: trio.Nursery) -> None:
    inbox = Inbox(max_bytes=100 * COST_BYTES, max_peer_bytes=3 * COST_BYTES)
    nursery.start_soon(inbox.put_frames, [frame(ALICE, number) for number in range(50)])
    await wait_all_tasks_blocked()
    assert inbox.used_bytes == 3 * COST_BYTES
    await inbox.put_frames([frame(BOB, 0)])
    received = [await inbox.receive() for _ in range(51)]
    assert [e for e in received if e.peer == ALICE] == [frame(ALICE, n) for n in range(50)]
    assert inbox.used_bytes == 0


async def test_many_that_wait_are_woken_seldom_and_all_get_through(nursery: trio.Nursery) -> None:
    inbox = Inbox(max_bytes=400 * COST_BYTES, max_peer_bytes=100 * COST_BYTES)
    peers = [NodeId(bytes([number]) * 32) for number in range(20)]
    for peer in peers:
        nursery.start_soon(inbox.put_frames, [frame(peer, number) for number in range(200)])
    await wait_all_tasks_blocked()
    received = [await inbox.receive() for _ in range(20 * 200)]
    for peer in peers:
        assert [e for e in received if e.peer == peer] == [frame(peer, n) for n in range(200)]


async def test_the_inbox_as_a_whole_is_bounded(nursery: trio.Nursery) -> None:
    inbox = Inbox(max_bytes=3 * COST_BYTES, max_peer_bytes=3 * COST_BYTES)
    for peer in (ALICE, BOB):
        nursery.start_soon(inbox.put_frames, [frame(peer, number) for number in range(10)])
    await wait_all_tasks_blocked()
    assert inbox.used_bytes == 3 * COST_BYTES
    for _ in range(20):
        await inbox.receive()
    assert inbox.used_bytes == 0


async def test_a_peer_that_goes_is_told_of_even_when_the_inbox_is_full() -> None:
    inbox = Inbox(max_bytes=1, max_peer_bytes=1)
    inbox.put_now(PeerUp(ALICE, "somewhere", outbound=True))
    inbox.put_now(PeerDown(ALICE, "gone"))
    assert isinstance(await inbox.receive(), PeerUp)
    assert inbox.receive_nowait() == PeerDown(ALICE, "gone")
    with pytest.raises(trio.WouldBlock):
        inbox.receive_nowait()


async def test_a_closed_inbox_gives_what_waits_and_then_the_end() -> None:
    inbox = Inbox()
    inbox.put_now(PeerUp(ALICE, "somewhere", outbound=True))
    inbox.close()
    inbox.put_now(PeerDown(ALICE, "too late"))
    assert [type(event) async for event in inbox] == [PeerUp]
    with pytest.raises(trio.EndOfChannel):
        await inbox.receive()


async def test_a_waiting_reader_is_woken_by_the_end(nursery: trio.Nursery) -> None:
    inbox = Inbox()

    async def read() -> None:
        assert [event async for event in inbox] == []

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    inbox.close()


async def test_everything_that_waits_is_taken_at_once_and_urgent_comes_first() -> None:
    outbox = Outbox(OutboxBounds())
    for number in range(100):
        assert outbox.put(1, b"%d" % number, urgent=False)
    assert outbox.put(2, b"vote", urgent=True)
    frames = FrameDecoder().feed(await outbox.take(), 100)
    assert frames == [(2, b"vote"), *((1, b"%d" % number) for number in range(100))]
    assert (outbox.queued_frames, outbox.queued_bytes) == (0, 0)
    assert (outbox.sent_frames, outbox.sent_bytes) == (101, 194)


async def test_a_batch_ends_so_that_urgent_frames_wait_for_little() -> None:
    outbox = Outbox(OutboxBounds())
    for _ in range(10):
        outbox.put(1, bytes(MAX_WRITE_BYTES // 2), urgent=False)
    assert len(await outbox.take()) < MAX_WRITE_BYTES * 3 // 2
    outbox.put(2, b"vote", urgent=True)
    assert (await outbox.take())[4:9] == b"\x02vote"


@pytest.mark.parametrize("bounds", [OutboxBounds(max_frames=2), OutboxBounds(max_bytes=25)])
async def test_a_full_queue_refuses_and_counts_and_leaves_urgent_frames_their_room(
    bounds: OutboxBounds,
) -> None:
    outbox = Outbox(bounds)
    accepted = [outbox.put(1, b"12345", urgent=False) for _ in range(5)]
    assert accepted == [True, True, False, False, False]
    assert outbox.put(1, b"12345", urgent=True)
    assert outbox.dropped_frames == 3
    await outbox.take()
    assert outbox.put(1, b"12345", urgent=False)


async def test_peers_are_served_in_turn() -> None:
    inbox = Inbox()
    await inbox.put_frames([frame(ALICE, number) for number in range(3)])
    await inbox.put_frames([frame(BOB, number) for number in range(2)])
    received = [inbox.receive_nowait() for _ in range(5)]
    assert received == [
        frame(ALICE, 0),
        frame(BOB, 0),
        frame(ALICE, 1),
        frame(BOB, 1),
        frame(ALICE, 2),
    ]


async def test_a_peer_that_is_held_waits_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    assert autojump_clock is not None
    inbox = Inbox()
    await inbox.put_frames([frame(ALICE, 0), frame(ALICE, 1)])
    inbox.hold(ALICE, 5)
    await inbox.put_frames([frame(BOB, 0), frame(ALICE, 2)])
    began_s = trio.current_time()
    assert await inbox.receive() == frame(BOB, 0)
    assert trio.current_time() == began_s
    assert [await inbox.receive() for _ in range(3)] == [frame(ALICE, n) for n in range(3)]
    assert trio.current_time() == pytest.approx(began_s + 5)
    assert inbox.used_bytes == 0


async def test_what_waits_of_a_held_peer_is_forgotten_when_it_goes() -> None:
    inbox = Inbox()
    inbox.put_now(PeerUp(ALICE, "somewhere", outbound=True))
    await inbox.put_frames([frame(ALICE, 0)])
    inbox.hold(ALICE, 5)
    inbox.put_now(PeerDown(ALICE, "gone"))
    assert isinstance(inbox.receive_nowait(), PeerUp)
    assert inbox.receive_nowait() == PeerDown(ALICE, "gone")
    assert inbox.used_bytes == 0


async def test_who_attends_is_given_frames_on_the_spot_and_the_reader_what_it_declines(
    nursery: trio.Nursery,
) -> None:
    inbox = Inbox()
    offered: list[Frame] = []
    read: list[int] = []

    def take(event: Frame) -> bool:
        offered.append(event)
        return event.payload != (2).to_bytes(4)

    async def reader() -> None:
        async for event in inbox:
            assert isinstance(event, Frame)
            read.append(int.from_bytes(event.payload))

    inbox.attend(take)
    nursery.start_soon(reader)
    await wait_all_tasks_blocked()
    assert all(inbox.put_if_room(frame(ALICE, number)) for number in range(5))
    assert offered == [frame(ALICE, number) for number in range(3)], "3 and 4 come behind 2"
    await wait_all_tasks_blocked()
    assert read == [2, 3, 4]
    assert inbox.used_bytes == 0
    inbox.put_if_room(frame(ALICE, 5))
    assert offered[-1] == frame(ALICE, 5)


async def test_nothing_is_given_away_while_nobody_reads_or_of_a_peer_that_is_held(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    assert autojump_clock is not None
    inbox = Inbox()
    offered: list[Frame] = []
    read: list[tuple[Frame, float]] = []

    def take(event: Frame) -> bool:
        offered.append(event)
        return True

    async def reader() -> None:
        async for event in inbox:
            assert isinstance(event, Frame)
            read.append((event, trio.current_time()))

    inbox.attend(take)
    inbox.put_if_room(frame(ALICE, 0))
    assert offered == []
    nursery.start_soon(reader)
    await wait_all_tasks_blocked()
    began_s = trio.current_time()
    inbox.hold(ALICE, 5)
    inbox.put_if_room(frame(ALICE, 1))
    await wait_all_tasks_blocked()
    inbox.put_if_room(frame(BOB, 0))
    assert offered == [frame(BOB, 0)]
    await trio.sleep(6)
    assert [one for one, _ in read] == [frame(ALICE, 0), frame(ALICE, 1)]
    assert read[1][1] >= began_s + 5


async def test_a_frame_without_room_is_not_queued() -> None:
    inbox = Inbox(max_bytes=2 * COST_BYTES, max_peer_bytes=COST_BYTES)
    assert [inbox.put_if_room(frame(ALICE, number)) for number in range(2)] == [True, False]
    assert inbox.put_if_room(frame(BOB, 0))
    assert inbox.used_bytes == 2 * COST_BYTES


async def test_an_owner_hears_once_that_something_waits_and_takes_it_while_the_writer_rests(
    nursery: trio.Nursery,
) -> None:
    told: list[int] = []
    written: list[bytes] = []
    outbox = Outbox(OutboxBounds(), lambda: told.append(outbox.queued_frames))

    async def writer() -> None:
        while True:
            written.append(await outbox.take())

    outbox.put(1, b"early", urgent=False)
    nursery.start_soon(writer)
    await wait_all_tasks_blocked()
    assert (told, len(written)) == ([], 1)
    outbox.put(1, b"bulk", urgent=False)
    outbox.put(2, b"vote", urgent=True)
    assert told == [1]
    assert FrameDecoder().feed(outbox.take_now(), 100) == [(2, b"vote"), (1, b"bulk")]
    await outbox.emptied()
    outbox.put(1, b"large", urgent=False)
    outbox.wake_writer()
    await wait_all_tasks_blocked()
    assert told == [1, 1]
    assert FrameDecoder().feed(written[1], 100) == [(1, b"large")]


async def test_of_a_held_peer_little_is_read_ahead_until_all_that_waited_is_gone(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    assert autojump_clock is not None
    inbox, count = Inbox(), 3 * HELD_PEER_BYTES // COST_BYTES
    await inbox.put_frames([frame(ALICE, 0)])
    inbox.hold(ALICE, 5)
    nursery.start_soon(inbox.put_frames, [frame(ALICE, 1 + number) for number in range(count)])
    await wait_all_tasks_blocked()
    assert inbox.used_by(ALICE) - HELD_PEER_BYTES in range(COST_BYTES)
    read = [await inbox.receive() for _ in range(100)]
    await wait_all_tasks_blocked()
    assert inbox.used_by(ALICE) < HELD_PEER_BYTES  # let go, and yet no more than that at once
    read += [await inbox.receive() for _ in range(count - 99)]
    assert read == [frame(ALICE, number) for number in range(count + 1)]
    await inbox.put_frames([frame(ALICE, number) for number in range(count)])
    assert inbox.used_by(ALICE) == count * COST_BYTES


async def test_a_peer_that_connects_again_is_held_on(autojump_clock: MockClock) -> None:
    assert autojump_clock is not None
    inbox = Inbox()
    inbox.put_now(PeerUp(ALICE, "somewhere", outbound=True))
    assert isinstance(await inbox.receive(), PeerUp)
    inbox.hold(ALICE, 5)
    began_s = trio.current_time()
    inbox.put_now(PeerDown(ALICE, "gone"))
    inbox.put_now(PeerUp(ALICE, "elsewhere", outbound=True))
    await inbox.put_frames([frame(ALICE, 0)])
    assert isinstance(await inbox.receive(), PeerDown)
    assert isinstance(await inbox.receive(), PeerUp)
    assert trio.current_time() == began_s
    assert await inbox.receive() == frame(ALICE, 0)
    assert trio.current_time() == pytest.approx(began_s + 5)


async def test_a_peer_that_has_gone_when_it_is_held_is_told_of_at_once() -> None:
    inbox = Inbox()
    await inbox.put_frames([frame(ALICE, 0), frame(ALICE, 1)])
    inbox.put_now(PeerDown(ALICE, "gone"))
    assert inbox.receive_nowait() == frame(ALICE, 0)
    inbox.hold(ALICE, 5)
    assert inbox.receive_nowait() == PeerDown(ALICE, "gone")
    assert inbox.used_bytes == 0
