"""What strangers, frozen peers and the clumsy do to the real transport, and how it stands that.

The names B1 to B6 are those of the faults of py-libp2p that `gossip.transport.repairs` lists.
"""

from __future__ import annotations

import dataclasses
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

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
    ListenError,
    PeerDown,
    PeerUp,
    Stream,
    StreamError,
    Transport,
)
from gossip.transport.framing import encode_frame
from gossip.transport.guests import PING
from gossip.transport.libp2p import GOSSIP, Libp2pTransport
from gossip.transport.multistream import NegotiationError, encode_line, select
from gossip.transport.muxer import Connection
from gossip.transport.outbox import OutboxBounds
from gossip.transport.repairs import Identity
from gossip.transport.yamux import INITIAL_WINDOW_BYTES

from .conftest import PATIENCE, Budgets, World, next_event, pending_events, seed_of, until
from .strangers import assert_pings, bare, stranger

ECHO = "/bizra/test-echo/1"


async def echo(_peer: NodeId, stream: Stream) -> None:
    while (message := await stream.receive()) is not None:
        await stream.send(message)


async def raw(transport: Transport) -> trio.SocketStream:
    """A bare TCP connection."""
    return await bare(transport.addresses()[0])


def guest(transport: Transport, name: str = "guest") -> AbstractAsyncContextManager[Connection]:
    """An authenticated connection whose owner does as it likes."""
    return stranger(transport.addresses()[0], Identity(seed_of(name)), PATIENCE)


async def assert_alive(transport: Transport, world: World, name: str = "witness") -> None:
    """A node that has nothing to do with it is served."""
    witness = await world.node(name)
    with trio.fail_after(5):
        await witness.dial(transport.addresses()[0])
        witness.send(transport.node_id, 1, b"are you well?")
        while True:
            event = await transport.events.receive()
            if event == Frame(witness.node_id, 1, b"are you well?"):
                break
    world.stop(witness)


async def test_b1_connections_are_counted_while_they_live(real: World) -> None:
    alice = await real.node("alice")
    bob = Libp2pTransport(
        seed_of("bob"), ["/ip4/127.0.0.1/tcp/0"], Budgets(), patience=PATIENCE, max_connections=8
    )
    await real.start(bob)
    for _ in range(310):
        await alice.dial(bob.addresses()[0])
        await next_event(bob, PeerUp)
        await alice.disconnect(bob.node_id, "next")
        await next_event(bob, PeerDown)
        await pending_events(alice)


async def test_a_full_house_shows_out_who_is_no_peer_and_then_the_smallest(real: World) -> None:
    alice, carol = await real.node("alice"), await real.node("carol")
    budgets = Budgets(STRANGER_LIMITS, {alice.node_id: MEMBER_LIMITS, carol.node_id: MEMBER_LIMITS})
    host = Libp2pTransport(
        seed_of("host"), ["/ip4/127.0.0.1/tcp/0"], budgets, patience=PATIENCE, max_connections=2
    )
    await real.start(host)
    async with guest(host, "idle") as idle, guest(host, "also idle") as also_idle:
        stranger = await real.node("stranger")
        await stranger.dial(host.addresses()[0])
        await until(lambda: idle.is_closed)
        await alice.dial(host.addresses()[0])
        await until(lambda: also_idle.is_closed)
    await carol.dial(host.addresses()[0])
    await until(lambda: host.peers() == {alice.node_id, carol.node_id})
    with pytest.raises(DialError):
        await stranger.dial(host.addresses()[0])
    assert host.peers() == {alice.node_id, carol.node_id}


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x13/multistream/1.0.0\n\x02\xff\n",
        b"\x13/multistream/1.0.0\n\x00",
        b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\x7f",
        b"\x13/multistream/1.0.0\n" + encode_line("/bizra/\x00\U0001f9c0") * 40,
        b"\x13/multistream/9.9.9\n",
        b"GET / HTTP/1.1\r\n\r\n" * 20,
        b"\xff" * 2000,
        b"",
    ],
)
async def test_b2_garbage_on_a_stream_costs_that_stream(real: World, garbage: bytes) -> None:
    alice = await real.node("alice")
    async with guest(alice) as connection:
        stream = connection.open()
        await stream.write(garbage)
        stream.end_write()
        with trio.fail_after(5), pytest.raises(ConnectionError):
            await stream.read_exactly(2**20)
        await assert_pings(connection)
    await assert_alive(alice, real)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x13/multistream/1.0.0\n\x02\xff\n",
        b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\x00\x00" * 20,
        b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff" + b"x" * 65_535,
        b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20" + b"\x00" * 32 + b"\x00\x40" + b"y" * 64,
        b"\x16\x03\x01" + bytes(200),
        b"",
    ],
)
async def test_b2_garbage_in_a_handshake_costs_that_connection(real: World, garbage: bytes) -> None:
    alice = await real.node("alice")
    wire = await raw(alice)
    async with wire:
        await wire.send_all(garbage)
        await wire.send_eof()
        with trio.fail_after(5):
            try:
                while await wire.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
    await assert_alive(alice, real)


async def test_b2_garbage_after_the_handshake_costs_that_connection(real: World) -> None:
    alice = await real.node("alice")
    for number, garbage in enumerate([b"\x00\x20" + bytes(32), b"\x00\x00", b"\xff" * 70_000]):
        async with guest(alice, f"guest {number}") as connection:
            await connection._socket.send_all(garbage)
            await until(partial(getattr, connection, "is_closed"))
    async with guest(alice, "not a muxer") as connection:
        connection.session._outgoing.append(b"\xee" * 100)
        connection.session._outgoing_bytes += 100
        connection.flush()
        await until(lambda: connection.is_closed)
    await assert_alive(alice, real)


async def test_b2_a_peer_that_breaks_framing_is_shown_out_with_the_reason(real: World) -> None:
    alice, bob = await real.node("alice"), await real.node("bob")
    await alice.dial(bob.addresses()[0])
    await next_event(bob, PeerUp)
    link = cast("Libp2pTransport", alice)._links.get(bob.node_id)
    assert link is not None
    assert link.outgoing is not None
    await link.outgoing.write(encode_frame(1, b"good") + b"\xff\xff\xff\xff\x01")
    assert (await next_event(bob, Frame)).payload == b"good"
    assert "4294967295 bytes" in (await next_event(bob, PeerDown)).reason
    await assert_alive(bob, real)


@pytest.mark.parametrize(
    "protocol", ["/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0", "/mplex/6.7.0"]
)
async def test_b4_nothing_but_noise_is_spoken(real: World, protocol: str) -> None:
    alice = await real.node("alice")

    class Layer:
        def __init__(self, wire: trio.SocketStream) -> None:
            self.write = wire.send_all
            self._wire = wire

        async def read_exactly(self, size_bytes: int) -> bytes:
            data = b""
            while len(data) < size_bytes:
                data += await self._wire.receive_some(size_bytes - len(data))
            return data

    async with await raw(alice) as wire:
        with pytest.raises(NegotiationError):
            await select(Layer(wire), protocol)


async def test_b4_a_listener_that_offers_only_plaintext_is_refused(real: World) -> None:
    alice = await real.node("alice")

    async def serve(wire: trio.SocketStream) -> None:
        await wire.send_all(encode_line("/multistream/1.0.0"))
        while await wire.receive_some():
            await wire.send_all(encode_line("na"))

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with pytest.raises(DialError) as caught:
            await alice.dial(f"/ip4/127.0.0.1/tcp/{port}")
        assert caught.value.failure == DialFailure.NOT_A_NODE
        nursery.cancel_scope.cancel()


async def test_b5_a_caller_that_is_cancelled_in_mid_write_hurts_no_other_stream(
    real: World,
) -> None:
    alice, bob = await real.node("alice"), await real.node("bob")

    async def hold(_peer: NodeId, _stream: Stream) -> None:
        await trio.sleep_forever()

    bob.serve("/bizra/test-hold/1", hold)
    bob.serve(ECHO, echo)
    await alice.dial(bob.addresses()[0])
    for _ in range(3):
        with trio.CancelScope() as scope:
            async with (
                await alice.open_stream(bob.node_id, "/bizra/test-hold/1") as stream,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(stream.send, bytes(MEMBER_LIMITS.max_frame_bytes))
                await wait_all_tasks_blocked(0.01)
                scope.cancel()
    async with await alice.open_stream(bob.node_id, ECHO) as stream:
        await stream.send(b"unhurt")
        assert await stream.receive() == b"unhurt"
    assert alice.peers() == {bob.node_id}


@asynccontextmanager
async def peer_process(name: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    """A node in another process, and its address."""
    script = Path(__file__).with_name("peer_process.py")
    command = [sys.executable, str(script), seed_of(name).hex()]
    process = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd())
    )
    assert process.stdout is not None
    try:
        address = await trio.to_thread.run_sync(process.stdout.readline)
        yield process, address.decode().strip()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


async def test_b5_a_frozen_peer_holds_up_nobody_and_is_noticed(real: World) -> None:
    alice = await real.node("alice", outbox=OutboxBounds(max_bytes=4 * 2**20))
    async with peer_process("frozen") as (process, address):
        bob = await alice.dial(address)
        await next_event(alice, PeerUp)
        process.send_signal(signal.SIGSTOP)
        sent_bytes = 0
        while alice.send(bob, 1, bytes(100_000)):
            sent_bytes += 100_000
            await trio.lowlevel.checkpoint()
        assert sent_bytes < 16 * 2**20
        with pytest.raises(StreamError), trio.fail_after(5):
            await alice.open_stream(bob, ECHO)
        down = await next_event(alice, PeerDown, within_s=5)
        assert down.peer == bob
        assert "silent" in down.reason or "took no data" in down.reason


async def test_b5_a_frozen_peer_is_dropped_at_once_when_told_so(real: World) -> None:
    alice = await real.node("alice")
    async with peer_process("frozen") as (process, address):
        bob = await alice.dial(address)
        process.send_signal(signal.SIGSTOP)
        while alice.send(bob, 1, bytes(100_000)):
            await trio.lowlevel.checkpoint()
        with trio.fail_after(0.5):
            await alice.disconnect(bob, "it sleeps")
        assert alice.peers() == frozenset()


async def test_a_killed_peer_is_noticed_at_once_and_welcome_when_it_is_back(real: World) -> None:
    alice = await real.node("alice")
    async with peer_process("killed") as (process, address):
        bob = await alice.dial(address)
        await next_event(alice, PeerUp)
        alice.send(bob, 7, b"ping")
        assert (await next_event(alice, Frame)).payload == b"ping"
        process.kill()
        assert (await next_event(alice, PeerDown, within_s=0.5)).peer == bob
        with pytest.raises(DialError):
            await alice.dial(address)
    async with peer_process("killed") as (_, address):
        assert await alice.dial(address) == bob


async def test_the_last_words_before_an_end_are_read(real: World) -> None:
    bob = await real.node("bob")
    for turn in range(20):
        alice = await real.node(f"alice {turn}")
        await alice.dial(bob.addresses()[0])
        await next_event(bob, PeerUp)
        link = cast("Libp2pTransport", alice)._links.get(bob.node_id)
        assert link is not None
        assert link.outgoing is not None
        # Both at once, so that bob finds the end right behind the words.
        link.connection.session.write(link.outgoing.flow, memoryview(encode_frame(1, b"bye")))
        link.connection.flush()
        link.connection._socket.socket.shutdown(socket.SHUT_WR)
        assert await next_event(bob, Frame) == Frame(alice.node_id, 1, b"bye")
        await next_event(bob, PeerDown)


async def test_run_ends_at_once_with_frozen_peers_and_half_open_ones(real: World) -> None:
    alice = await real.node("alice")
    async with peer_process("frozen") as (process, address):
        bob = await alice.dial(address)
        half_open = [await raw(alice) for _ in range(10)]
        process.send_signal(signal.SIGSTOP)
        while alice.send(bob, 1, bytes(100_000)):
            await trio.lowlevel.checkpoint()
        real.stop(alice)
        with trio.fail_after(1):
            async for _ in alice.events:
                pass
        for wire in half_open:
            await trio.aclose_forcefully(wire)


async def test_a_large_message_waits_for_nothing_but_the_reader() -> None:
    """What fills the buffer and is written on the spot has nobody to tell of it; a ping would."""
    patience = dataclasses.replace(PATIENCE, ping_every_s=1000)
    alice, bob = (
        Libp2pTransport(seed_of(name), ["/ip4/127.0.0.1/tcp/0"], Budgets(), patience=patience)
        for name in ("alice", "bob")
    )
    bob.serve(ECHO, echo)
    message = bytes(4_000_000)
    async with trio.open_nursery() as nursery:
        for transport in (alice, bob):
            await nursery.start(transport.run)
        await alice.dial(bob.addresses()[0])
        with trio.fail_after(10):
            async with await alice.open_stream(bob.node_id, ECHO, window_bytes=2**21) as stream:
                await stream.send(message)
                assert await stream.receive() == message
        nursery.cancel_scope.cancel()


async def test_b6_what_a_handler_does_not_read_is_bounded(real: World) -> None:
    alice, bob = await real.node("alice"), await real.node("bob")

    async def hold(_peer: NodeId, _stream: Stream) -> None:
        await trio.sleep_forever()

    bob.serve(ECHO, hold)
    await alice.dial(bob.addresses()[0])
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            stream = await alice.open_stream(bob.node_id, ECHO)
            nursery.start_soon(stream.send, bytes(MEMBER_LIMITS.max_frame_bytes))
        await wait_all_tasks_blocked(0.05)
        (connection,) = cast("Libp2pTransport", bob)._connections
        assert connection.session.buffered_bytes > 7 * INITIAL_WINDOW_BYTES
        assert connection.session.buffered_bytes <= 8 * INITIAL_WINDOW_BYTES
        nursery.cancel_scope.cancel()


async def test_b6_who_ignores_the_window_is_shown_out(real: World) -> None:
    alice = await real.node("alice")
    async with guest(alice) as connection:
        stream = connection.open()
        await select(stream, PING)
        stream.flow.send_window_bytes = 2**30
        # Pings are echoed as long as somebody reads the echo; nobody does.
        with pytest.raises(ConnectionError):
            await stream.write(bytes(2**24))
        await until(lambda: not cast("Libp2pTransport", alice)._connections)
    await assert_alive(alice, real)


async def test_a_stranger_is_read_at_its_rate_until_it_is_admitted(real: World) -> None:
    trickle = dataclasses.replace(STRANGER_LIMITS, bytes_per_s=1, burst_bytes=50_000)
    alice, budgets = await real.node("alice"), Budgets(trickle)
    bob = await real.node("bob", budgets)
    await alice.dial(bob.addresses()[0])
    await next_event(bob, PeerUp)
    for _ in range(100):
        alice.send(bob.node_id, 1, bytes(10_000))
    await next_event(bob, Frame)
    await wait_all_tasks_blocked(0.1)
    # One read may overdraw; what follows stays in the window and in alice's queue.
    received = 1 + len(await pending_events(bob))
    assert 5 <= received < 20
    budgets.usual = MEMBER_LIMITS
    for _ in range(100 - received):
        await next_event(bob, Frame)


async def test_half_open_handshakes_keep_nobody_waiting(real: World) -> None:
    alice, bob = await real.node("alice"), await real.node("bob")
    half_open = [await raw(alice) for _ in range(200)]
    with trio.fail_after(2):
        await bob.dial(alice.addresses()[0])
    # Those are shown out, the oldest first, and the rest when their time is over.
    with trio.fail_after(PATIENCE.negotiate_s + 3):
        for wire in half_open:
            try:
                while await wire.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
            await trio.aclose_forcefully(wire)
    assert alice.peers() == {bob.node_id}


async def test_a_listener_that_never_answers_times_out(real: World) -> None:
    alice = await real.node("alice")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DialError) as caught:
            await alice.dial(f"/ip4/127.0.0.1/tcp/{port}")
    assert caught.value.failure == DialFailure.TIMEOUT


async def test_a_peer_with_no_gossip_is_answered_and_is_no_peer(real: World) -> None:
    alice = await real.node("alice")
    async with guest(alice) as connection:
        await assert_pings(connection)
        with pytest.raises(NegotiationError):
            await select(connection.open(), "/bizra/unheard-of/1")
        assert alice.peers() == frozenset()
    assert await pending_events(alice) == []


async def test_who_is_not_admitted_is_offered_nothing_of_ours(real: World) -> None:
    nothing = dataclasses.replace(STRANGER_LIMITS, max_frame_bytes=0)
    alice = await real.node("alice", Budgets(nothing))
    alice.serve(ECHO, echo)
    async with guest(alice) as connection:
        await assert_pings(connection)
        for protocol in (GOSSIP, ECHO):
            with pytest.raises(NegotiationError):
                await select(connection.open(), protocol)


async def test_an_address_in_use_is_told_with_what_to_do(real: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        transport = Libp2pTransport(seed_of("late"), [address], Budgets())
        with pytest.raises(ListenError, match="in use: stop the program") as caught:
            await transport.run()
    assert address in str(caught.value)
    del real


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("0.0.0.0:7430", "is not a TCP multiaddr"),
        ("/ip4/127.0.0.1/udp/7430/quic-v1", "is not a TCP multiaddr"),
        ("/ip4/127.0.0.1/tcp/7430/ws", "only TCP is spoken"),
        ("/ip4/127.0.0.1/tcp/99999", "no port"),
        ("/ip4/192.0.2.77/tcp/0", "not an address of this machine"),
        ("/dns4/localhost/tcp/0", "name an IP address"),
    ],
)
async def test_a_bad_listen_address_is_told(address: str, sentence: str) -> None:
    transport = Libp2pTransport(seed_of("late"), ["/ip4/127.0.0.1/tcp/0", address], Budgets())
    with pytest.raises(ListenError, match=sentence):
        await transport.run()
    assert transport.addresses() == ()


async def test_an_unspecified_address_is_told_as_those_of_the_interfaces(real: World) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - that is what is tested
    transport = Libp2pTransport(seed_of("open"), [f"/ip4/{everywhere}/tcp/0"], Budgets())
    await real.start(transport)
    assert transport.addresses()
    assert not any(everywhere in address for address in transport.addresses())
    assert transport.addresses()[-1].startswith("/ip4/127.0.0.1/tcp/")
