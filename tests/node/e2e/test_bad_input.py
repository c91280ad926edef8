"""What strangers and bad members send to a real daemon: it stays up, says what happened, and its memory stays flat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from hashlib import blake2b
from typing import TypeVar

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair

from gossip.codec import encode
from gossip.identity import Ed25519Signer
from gossip.membership.messages import Records
from gossip.membership.records import PeerRecord, SignedRecord
from gossip.transport import MEMBER_LIMITS, PeerDown, TurnedAway
from gossip.transport.libp2p import Libp2pTransport
from gossip.transport.multistream import NegotiationError, encode_line
from gossip.transport.muxer import Connection
from gossip.transport.repairs import HandshakeError
from node.bench.limits import resident_mib
from node.peers.service import MEMBERSHIP_CHANNEL
from node.storage.keyfile import Purpose, load_key
from tests.gossip.transport.strangers import assert_pings, bare, identity_of, stranger
from tests.node.e2e.daemons import WAIT_S, Daemon, Fleet, await_agreement, until

Value = TypeVar("Value")

pytestmark = pytest.mark.timeout(180)

CROWD = 300
TIMES = 10
MAX_CONNECTIONS = 256
CROWD_MIB = 64.0
"""What the daemon may grow by while a crowd stands in it: a fifth of a megabyte for each."""
LEFT_MIB = 16.0
"""What may be left when a crowd was there before: buffers that Python keeps, and nothing of the crowd."""


@pytest.fixture(scope="module")
def daemon(shared_fleet: Fleet) -> Iterator[Daemon]:
    """One daemon stands all of it, and at the end it is as well as at the beginning."""
    one = shared_fleet.new("patient", ()).start()
    pid = one.process.pid
    yield one
    assert one.process.pid == pid
    assert one.is_running
    one.pay(one)


async def aside(ask: Callable[[], Value]) -> Value:
    """Call what blocks, while strangers go on."""
    return await trio.to_thread.run_sync(ask)


async def becomes(condition: Callable[[], object], what: str) -> None:
    await aside(lambda: until(condition, what))


def turned_away(daemon: Daemon, why: TurnedAway) -> int:
    transport = daemon.status.transport
    assert transport is not None
    return transport.turned_away.get(why.value, 0)


def connections(daemon: Daemon) -> int:
    transport = daemon.status.transport
    assert transport is not None
    return transport.connections


async def assert_serves(daemon: Daemon) -> None:
    """Its owner and one more stranger get their answers."""
    assert (await aside(lambda: daemon.status)).role == "validator"
    with trio.fail_after(WAIT_S):
        async with stranger(daemon.address, identity_of("witness")) as witness:
            await assert_pings(witness)


async def leave(wires: list[trio.SocketStream]) -> None:
    for wire in wires:
        await trio.aclose_forcefully(wire)


async def read_out(wire: trio.SocketStream) -> None:
    """Return when the other side has closed it."""
    with trio.fail_after(WAIT_S), suppress(trio.BrokenResourceError):
        while await wire.receive_some():
            pass


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(encode_line("/multistream/1.0.0") + encode_line("/noise"), id="noise"),
        pytest.param(encode_line("/multistream/1.0.0")[:7], id="half a line"),
    ],
)
async def test_three_hundred_half_open_handshakes_keep_nobody_waiting_and_no_memory(
    daemon: Daemon, said: bytes
) -> None:
    await assert_serves(daemon)
    before_mib, before = resident_mib(daemon.process.pid), turned_away(daemon, TurnedAway.TOO_SLOW)
    wires = [await bare(daemon.address) for _ in range(CROWD)]
    for wire in wires:
        with suppress(trio.BrokenResourceError):  # shown out already, for those who came later
            await wire.send_all(said)
    await assert_serves(daemon)
    assert resident_mib(daemon.process.pid) - before_mib < CROWD_MIB
    async with trio.open_nursery() as nursery:
        for wire in wires:
            nursery.start_soon(read_out, wire)
    await leave(wires)
    await becomes(
        lambda: turned_away(daemon, TurnedAway.TOO_SLOW) >= before + CROWD, "all to be shown out"
    )
    await becomes(lambda: connections(daemon) == 0, "no connection to be left")
    assert resident_mib(daemon.process.pid) - before_mib < LEFT_MIB


async def test_three_hundred_idle_connections_take_bounded_memory_and_all_places_come_back(
    daemon: Daemon,
) -> None:
    """They have proven who they are and say nothing more. The second crowd finds what the first one left."""
    await assert_serves(daemon)
    before_mib = resident_mib(daemon.process.pid)
    grown_mib = []
    for turn in range(2):
        shown_out = turned_away(daemon, TurnedAway.NO_ROOM)
        async with AsyncExitStack() as crowd:
            for number in range(CROWD):
                identity = identity_of(f"idler {turn} {number}")
                await crowd.enter_async_context(stranger(daemon.address, identity))
            await becomes(lambda: connections(daemon) == MAX_CONNECTIONS, "the house to be full")
            await assert_serves(daemon)
            grown_mib.append(resident_mib(daemon.process.pid) - before_mib)
        assert turned_away(daemon, TurnedAway.NO_ROOM) >= shown_out + CROWD - MAX_CONNECTIONS
        await becomes(lambda: connections(daemon) == 0, "all places to be free again")
        grown_mib.append(resident_mib(daemon.process.pid) - before_mib)
    assert max(grown_mib) < CROWD_MIB, grown_mib
    assert grown_mib[3] - grown_mib[1] < LEFT_MIB, grown_mib


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(bytes(range(256)) * 256, id="bytes"),
        pytest.param(b"GET / HTTP/1.1\r\nCookie: " + b"x" * 100 + b"\r\n\r\n", id="http"),
        pytest.param(b"\xff\xff" + bytes(70_000), id="an endless line"),
        pytest.param(encode_line("/multistream/1.0.0") + b"\x03\xff\xfe\n", id="bad UTF-8"),
    ],
)
async def test_garbage_in_place_of_a_handshake_is_counted_and_costs_that_connection(
    daemon: Daemon, garbage: bytes
) -> None:
    before = turned_away(daemon, TurnedAway.GARBAGE)
    for _ in range(10):
        async with await bare(daemon.address) as wire:
            with suppress(trio.BrokenResourceError):  # it did not listen to the end
                await wire.send_all(garbage)
            await read_out(wire)
    assert turned_away(daemon, TurnedAway.GARBAGE) == before + 10
    await assert_serves(daemon)


async def test_a_key_that_the_other_side_does_not_hold_is_no_identity(daemon: Daemon) -> None:
    """The name of another in the handshake, under a signature of our own."""
    before = turned_away(daemon, TurnedAway.UNPROVEN)
    forger = identity_of("forger")
    own, other = forger._keys.private_key, create_new_key_pair(bytes(32))

    class Forged(type(own)):  # type: ignore[misc]  # made to be believed
        def get_public_key(self) -> object:
            return other.public_key

    forger._keys.private_key.__class__ = Forged
    for _ in range(5):
        with pytest.raises((HandshakeError, ConnectionError)):
            async with stranger(daemon.address, forger) as connection:
                await assert_pings(connection)
    assert turned_away(daemon, TurnedAway.UNPROVEN) == before + 5
    await assert_serves(daemon)


async def _protocol_in_no_alphabet(connection: Connection) -> None:
    await connection.open().write(encode_line("/multistream/1.0.0") + b"\x05\xc3\x28\xa0\xa1\n")


async def _no_multiplexer(connection: Connection) -> None:
    connection.session._outgoing.append(b"\xee" * 100)
    connection.session._outgoing_bytes += 100
    connection.flush()


async def _no_cipher(connection: Connection) -> None:
    await connection._socket.send_all(b"\x00\x20" + bytes(32))


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        (_protocol_in_no_alphabet, TurnedAway.STREAM),
        (_no_multiplexer, TurnedAway.BROKEN),
        (_no_cipher, TurnedAway.BROKEN),
    ],
)
async def test_a_stranger_that_breaks_a_rule_is_shown_out_and_counted(
    daemon: Daemon, deed: Callable[[Connection], Awaitable[None]], why: TurnedAway
) -> None:
    await assert_serves(daemon)
    before_mib, before = resident_mib(daemon.process.pid), turned_away(daemon, why)
    for number in range(10):
        try:
            async with stranger(
                daemon.address, identity_of(f"{deed.__name__} {number}")
            ) as connection:
                await deed(connection)
                counted = partial(
                    lambda least: turned_away(daemon, why) >= least, before + number + 1
                )
                await becomes(counted, f"it to be counted as {why.value}")
        except* (ConnectionError, NegotiationError, trio.BrokenResourceError):
            pass  # shown out in the middle of the deed
    await becomes(lambda: turned_away(daemon, why) >= before + 10, "all to be counted")
    await assert_serves(daemon)
    assert resident_mib(daemon.process.pid) - before_mib < LEFT_MIB


@pytest.mark.parametrize(
    ("claimed_bytes", "sent_bytes"),
    [
        pytest.param(2**20, 2**20, id="all of it"),
        pytest.param(2**32 - 1, 2**20, id="its beginning"),
    ],
)
async def test_an_oversized_frame_of_a_stranger_costs_its_connection_and_is_told(
    daemon: Daemon, claimed_bytes: int, sent_bytes: int
) -> None:
    """Nothing of it is kept: the length is judged before what follows is."""
    await assert_serves(daemon)
    before_mib, before = resident_mib(daemon.process.pid), turned_away(daemon, TurnedAway.BROKEN)
    frame = claimed_bytes.to_bytes(4) + bytes([MEMBERSHIP_CHANNEL]) + bytes(sent_bytes)
    for number in range(TIMES):
        seed = blake2b(f"{claimed_bytes} {number}".encode(), digest_size=32).digest()
        rogue = Libp2pTransport(seed, [], lambda _: MEMBER_LIMITS)
        async with trio.open_nursery() as nursery:
            await nursery.start(rogue.run)
            link = rogue._links.get_up(await rogue.dial(daemon.address))
            assert link is not None
            assert link.outgoing is not None
            with trio.fail_after(WAIT_S), suppress(ConnectionError):
                await link.outgoing.write(frame)
            async for event in rogue.events:
                if isinstance(event, PeerDown):
                    break
            nursery.cancel_scope.cancel()
    await becomes(
        lambda: turned_away(daemon, TurnedAway.BROKEN) == before + TIMES, "all to be counted"
    )
    shown = await aside(partial(daemon.command, "status"))
    assert f"{TurnedAway.BROKEN.value}: {turned_away(daemon, TurnedAway.BROKEN)}" in shown.out
    await assert_serves(daemon)
    assert resident_mib(daemon.process.pid) - before_mib < LEFT_MIB


async def test_a_member_that_floods_records_is_refused_and_the_node_goes_on(
    daemon: Daemon, shared_fleet: Fleet
) -> None:
    """It was let in as anybody is; then its key speaks for somebody who forges."""
    home = await aside(lambda: _member(daemon, shared_fleet))
    signer = load_key(home.home.identity_key, Purpose.IDENTITY)
    flood = _forgeries(signer, daemon)
    before_mib = resident_mib(daemon.process.pid)
    rogue = Libp2pTransport(signer.seed, ["/ip4/127.0.0.1/tcp/0"], lambda _: MEMBER_LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(rogue.run)
        nursery.start_soon(_ignore_all, rogue)
        peer = await rogue.dial(daemon.address)
        for number in range(20_000):
            while not rogue.send(peer, MEMBERSHIP_CHANNEL, flood[number % len(flood)]):
                with trio.fail_after(WAIT_S):
                    await trio.sleep(0.01)
                if peer not in rogue.peers():
                    break
        await becomes(lambda: _refused(daemon, home.id) > 0, "the forgeries to be refused")
        assert (await aside(lambda: daemon.status)).role == "validator"
        await aside(lambda: daemon.pay(daemon))
        assert resident_mib(daemon.process.pid) - before_mib < CROWD_MIB
        nursery.cancel_scope.cancel()
    assert {one.node_id for one in daemon.client.peers().peers} == {home.id}


def _member(daemon: Daemon, fleet: Fleet) -> Daemon:
    member = fleet.new("member", ()).start("--bootstrap", daemon.client.invite(600_000).invite)
    until(lambda: member.status.role == "observer", "it to be let in")
    await_agreement([daemon, member])
    assert member.end() == 0
    return member


def _forgeries(signer: Ed25519Signer, daemon: Daemon) -> list[bytes]:
    """Records in the names of others, signed by nobody: each would be news."""
    federation = bytes.fromhex(daemon.status.federation_id or "")
    made = []
    for number in range(200):
        record = PeerRecord(
            node=signer.public,
            federation=federation,
            seq=2**40 + number,
            name=f"forged {number}",
            addresses=("/ip4/127.0.0.1/tcp/9",),
            capabilities=(),
            load=0,
            voting_key=bytes(32),
            version="0",
            issued_at_ms=0,
        )
        made.append(encode(Records((SignedRecord(record, bytes(64)),))))
    return made


def _refused(daemon: Daemon, node: str) -> int:
    return sum(one.count for one in daemon.status.refused if one.node_id == node)


async def _ignore_all(rogue: Libp2pTransport) -> None:
    async for _ in rogue.events:
        pass


async def test_invites_that_are_cut_or_of_nowhere_make_no_member(daemon: Daemon) -> None:
    """What the daemon itself says of them; the rest of their faults stand in test_joining."""
    invite = daemon.client.invite(60_000).invite
    for given in (invite[: len(invite) // 2], invite[:-1], invite + "q", ""):
        ended = await aside(partial(daemon.command, "run", "--bootstrap", given))
        assert ended.code != 0
        assert ended.err.strip()
    await assert_serves(daemon)
