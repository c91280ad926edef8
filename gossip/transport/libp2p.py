"""The real transport: TCP, Noise, Yamux, and one logical peer for each identity.

How two nodes come together, on one connection:

    dialer                                listener
      | -- TCP, Noise, Yamux ------------->  |
      | -- stream /bizra/gossip/1 -------->  |  may refuse: not admitted, or connected already
      | <- stream /bizra/gossip/1 ---------  |  up
      |  up                                  |

The dialer speaks first. A foreign libp2p peer that opens no gossip stream is answered identify and
ping, and is no peer to the floors above. When both have dialed at once, the connection that the
smaller `NodeId` dialed stays: its owner refuses the other one, and the other side gives its own up.
While a link is up, a newcomer with the same identity is accepted only if the old connection is
dead.

`PeerDown` comes when a socket closes (at once), when pings go unanswered (some seconds), when a
write is not taken, when a limit is broken, or when `disconnect` is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from gossip.identity import NodeId
from gossip.transport import (
    USUAL_WINDOW_BYTES,
    DialError,
    DialFailure,
    Limits,
    PeerStats,
    StreamError,
    StreamHandler,
    Totals,
    TurnedAway,
    peer_id_from_node_id,
)
from gossip.transport.address import Address, dialable
from gossip.transport.doors import Handshakes, address_of, open_doors
from gossip.transport.guests import IDENTIFY, PING, answer_identify, answer_pings, farewell
from gossip.transport.inbox import Inbox
from gossip.transport.link import Link
from gossip.transport.links import Links
from gossip.transport.messages import MessageStream
from gossip.transport.multistream import NegotiationError, accept, select
from gossip.transport.muxer import Connection, MuxStream, Patience
from gossip.transport.outbox import OutboxBounds
from gossip.transport.repairs import HandshakeError, Identity, check_library
from gossip.transport.upgrade import Upgraded, upgrade
from gossip.transport.yamux import Session

if TYPE_CHECKING:
    from trio_typing import TaskStatus

GOSSIP = "/bizra/gossip/1"
_HANDSHAKES = 128
_SPARE_STREAMS = 4
"""Beside those that limits grant: gossip itself, identify, ping, and one that is being refused."""

_PATIENCE = Patience()
_OUTBOX_BOUNDS = OutboxBounds()

_log = structlog.get_logger()


class NoRoomError(ConnectionError):
    """All connections are taken by peers that are worth no less."""


def _push_all(filled: list[Link]) -> None:
    """Send on the spot what waits for these, and let go of them."""
    while filled:
        links = filled.copy()
        filled.clear()
        for link in links:
            link.push()


class _Together:
    """See `Transport.together`."""

    def __init__(self, filled: list[Link]) -> None:
        self._filled = filled
        self.is_on = False

    def __enter__(self) -> None:
        self.is_on = True

    def __exit__(self, *_: object) -> None:
        self.is_on = False
        _push_all(self._filled)


class Libp2pTransport:
    """See `gossip.transport.Transport`.

    `seed` is the node's 32-byte Ed25519 seed; `listen` are multiaddrs, port 0 for any.
    `max_connections` counts those that live, of both directions; when all are taken, one that is no
    peer of ours goes, or the peer with the smallest budget if the newcomer has a larger one.
    """

    def __init__(
        self,
        seed: bytes,
        listen: Sequence[str],
        limits: Limits,
        *,
        patience: Patience = _PATIENCE,
        outbox: OutboxBounds = _OUTBOX_BOUNDS,
        max_connections: int = 256,
    ) -> None:
        check_library()
        self._identity = Identity(seed)
        self._listen = tuple(listen)
        self._limits = limits
        self._patience = patience
        self._max_connections = max_connections
        self._inbox = Inbox()
        self._filled: list[Link] = []
        """Those to whom something is to be sent at the end of this turn of the loop."""
        self._pusher = trio.lowlevel.ParkingLot()
        self.together = _Together(self._filled)
        """See `Transport.together`."""
        self._links = Links(self._identity.node_id, self._inbox, outbox, self._on_filled)
        self._connections: dict[Connection, None] = {}
        self._handlers: dict[str, StreamHandler] = {}
        self._handshakes = Handshakes(_HANDSHAKES)
        self._turned_away: Counter[TurnedAway] = Counter()
        self._doors: list[Address] = []
        self._nursery: trio.Nursery | None = None

    @property
    def node_id(self) -> NodeId:
        """See `Transport.node_id`."""
        return self._identity.node_id

    @property
    def events(self) -> Inbox:
        """See `Transport.events`."""
        return self._inbox

    def addresses(self) -> tuple[str, ...]:
        """See `Transport.addresses`."""
        return tuple(str(address.with_peer(self.node_id)) for address in dialable(self._doors))

    def bound(self) -> tuple[str, ...]:
        """The addresses that it listens on, each with its port; empty before `run` has started."""
        return tuple(map(str, self._doors))

    def peers(self) -> frozenset[NodeId]:
        """See `Transport.peers`."""
        return frozenset(link.peer for link in self._links.all_up())

    def stats(self) -> dict[NodeId, PeerStats]:
        """See `Transport.stats`."""
        return {
            link.peer: link.stats(self._inbox.used_by(link.peer)) for link in self._links.all_up()
        }

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """See `Transport.serve`."""
        assert protocol not in (*self._handlers, GOSSIP, IDENTIFY, PING), protocol
        self._handlers[protocol] = handler

    def send(self, peer: NodeId, channel: int, payload: bytes, *, urgent: bool = False) -> bool:
        """See `Transport.send`."""
        link = self._links.get_up(peer)
        if link is None or len(payload) > self._limits(peer).max_frame_bytes:
            return False
        return link.outbox.put(channel, payload, urgent=urgent)

    def _on_filled(self, link: Link) -> None:
        self._filled.append(link)
        if not self.together.is_on:
            self._pusher.unpark()

    async def _push(self) -> None:
        """Send what one turn of the loop has queued, for all peers in one task."""
        while True:
            _push_all(self._filled)
            await self._pusher.park()

    async def flushed(self) -> None:
        """See `Transport.flushed`."""
        for link in self._links.all_up():
            await link.outbox.emptied()
            await link.connection.flushed()

    async def disconnect(self, peer: NodeId, reason: str) -> None:
        """See `Transport.disconnect`."""
        await trio.lowlevel.checkpoint()
        link = self._links.get(peer)
        if link is not None:
            self._links.drop(link, reason)

    def totals(self) -> Totals:
        """See `Transport.totals`."""
        held = sum(one.unread_bytes + one.unsent_bytes for one in self._connections)
        queued = sum(link.outbox.queued_bytes for link in self._links.all_up())
        return Totals(
            len(self._connections), held + queued + self._inbox.used_bytes, dict(self._turned_away)
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Transport.run`."""
        assert self._nursery is None, "a transport runs once"
        listeners = await open_doors(self._listen)
        try:
            async with trio.open_nursery() as self._nursery:
                self._doors = [address_of(listener) for listener in listeners]
                for listener in listeners:
                    serve = partial(trio.serve_listeners, handler_nursery=self._nursery)
                    self._nursery.start_soon(serve, self._on_socket, [listener])
                self._nursery.start_soon(self._push)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._doors = []
            self._inbox.close()

    async def open_stream(
        self, peer: NodeId, protocol: str, *, window_bytes: int = USUAL_WINDOW_BYTES
    ) -> MessageStream:
        """See `Transport.open_stream`."""
        link = self._links.get_up(peer)
        if link is None:
            raise StreamError("the peer is not connected")
        # While a link is up its connection is open.
        stream = link.connection.open(window_bytes)
        try:
            with trio.fail_after(self._patience.negotiate_s):
                await select(stream, protocol)
        except trio.TooSlowError:
            stream.reset()
            raise StreamError(f"the peer didn't answer for {protocol} in time") from None
        except (ConnectionError, NegotiationError) as error:
            stream.reset()
            raise StreamError(f"no stream for {protocol}: {error}") from error
        except trio.Cancelled:
            stream.reset()
            raise
        return self._messages(stream)

    async def dial(self, address: str) -> NodeId:
        """See `Transport.dial`."""
        try:
            place = Address.parse(address)
        except ValueError as error:
            raise DialError(DialFailure.BAD_ADDRESS, f"can't dial: {error}") from None
        if place.is_unspecified or not place.port:
            raise DialError(
                DialFailure.BAD_ADDRESS, f"can't dial {address}: it stands for any host or port"
            )
        if place.peer == self.node_id:
            raise DialError(DialFailure.SELF, f"{address} is this node itself")
        if place.peer is not None and self._links.get_up(place.peer) is not None:
            return place.peer
        try:
            with trio.fail_after(self._patience.dial_s):
                return await self._dial(place)
        except trio.TooSlowError:
            raise DialError(
                DialFailure.TIMEOUT, f"{address} didn't answer in {self._patience.dial_s:g} s"
            ) from None

    async def _dial(self, place: Address) -> NodeId:
        if self._nursery is None:
            raise DialError(DialFailure.REFUSED, "this node isn't running")
        try:
            with trio.fail_after(self._patience.connect_s):
                wire = await trio.open_tcp_stream(place.host, place.port)
        except trio.TooSlowError:
            raise DialError(
                DialFailure.TIMEOUT,
                f"{place}: the host didn't answer in {self._patience.connect_s:g} s",
            ) from None
        except OSError as error:
            raise DialError(DialFailure.REFUSED, f"nobody listens at {place}: {error}") from error
        try:
            upgraded = await upgrade(wire, self._identity, outbound=True)
            _check_identity(place, upgraded.peer, self.node_id)
            if self._links.get(upgraded.peer) is None:
                connection = self._connect(wire, upgraded, outbound=True)
            else:
                connection = None
        except (OSError, NegotiationError, HandshakeError) as error:
            await trio.aclose_forcefully(wire)
            raise DialError(
                DialFailure.NOT_A_NODE, f"{place} is not a libp2p node, or refused us: {error}"
            ) from error
        except BaseException:
            await trio.aclose_forcefully(wire)
            raise
        if connection is None:
            await trio.aclose_forcefully(wire)
        else:
            self._nursery.start_soon(connection.run, upgraded.early, self._on_stream)
            await self._introduce(connection, place)
        if not await self._links.settled(upgraded.peer):
            reason = connection.reason if connection is not None else "it went away"
            raise DialError(DialFailure.REFUSED, f"{place} refused us: {reason}")
        return upgraded.peer

    async def _introduce(self, connection: Connection, place: Address) -> None:
        """Open our gossip stream, and wait for the peer's."""
        link = self._links.begin(connection, str(place.with_peer(connection.peer)))
        try:
            link.outgoing = connection.open()
            await select(link.outgoing, GOSSIP)
            await link.settled.wait()
        except NegotiationError as error:
            self._links.drop(link, str(error))
            raise DialError(
                DialFailure.NOT_A_NODE, f"{place} is no node of ours, or doesn't admit us: {error}"
            ) from error
        except ConnectionError:
            # Perhaps in favour of its own dial to us; the caller looks.
            self._links.drop(link, "the connection was cut")
        except BaseException:
            self._links.drop(link, "the dial was given up")
            raise

    async def _on_socket(self, wire: trio.SocketStream) -> None:
        """Serve one inbound connection from its first byte to its last. Raises nothing."""
        try:
            with self._handshakes.place(self._patience.negotiate_s):
                upgraded = await upgrade(wire, self._identity, outbound=False)
            connection = self._connect(wire, upgraded, outbound=False)
        except (OSError, NegotiationError, HandshakeError, trio.TooSlowError) as error:
            self._turned_away[_why(error)] += 1
            _log.debug("connection refused", reason=str(error) or "too slow")
            await trio.aclose_forcefully(wire)
        except BaseException:
            await trio.aclose_forcefully(wire)
            raise
        else:
            await connection.run(upgraded.early, self._on_stream)

    def _connect(
        self, wire: trio.SocketStream, upgraded: Upgraded, *, outbound: bool
    ) -> Connection:
        """Raises `ConnectionError` if it is ourselves, `NoRoomError` if there is no room for this peer."""
        peer = upgraded.peer
        if peer == self.node_id:
            raise ConnectionError("it is this node itself")
        self._make_room(peer)

        def max_inbound_streams() -> int:
            return self._limits(peer).max_streams + _SPARE_STREAMS

        connection = Connection(
            wire,
            peer,
            upgraded.channel,
            Session(dialer=outbound, max_inbound_streams=max_inbound_streams),
            outbound=outbound,
            patience=self._patience,
            crowd=self._connections.__len__,
            on_close=self._on_close,
        )
        self._connections[connection] = None
        return connection

    def _make_room(self, newcomer: NodeId) -> None:
        if len(self._connections) < self._max_connections:
            return

        def worth(connection: Connection) -> tuple[bool, int]:
            linked = self._links.of_connection(connection) is not None
            return linked, self._limits(connection.peer).bytes_per_s

        least = min(self._connections, key=worth)
        if worth(least) >= (True, self._limits(newcomer).bytes_per_s):
            raise NoRoomError("all connections are taken")
        self._turned_away[TurnedAway.NO_ROOM] += 1
        least.close("its place was needed")

    def _on_close(self, connection: Connection) -> None:
        del self._connections[connection]
        if connection.is_broken:
            self._turned_away[TurnedAway.BROKEN] += 1
        link = self._links.of_connection(connection)
        if link is not None and connection.reason is not None:
            self._links.drop(link, connection.reason)

    async def _on_stream(self, stream: MuxStream) -> None:
        """Answer one inbound stream. Raises nothing."""
        try:
            await self._answer(stream)
        except* (ConnectionError, NegotiationError, StreamError, trio.TooSlowError) as errors:
            if errors.subgroup((NegotiationError, trio.TooSlowError)) is not None:
                self._turned_away[TurnedAway.STREAM] += 1
            _log.debug("stream ended", reason=str(errors.exceptions[0]))
        except* Exception:  # noqa: BLE001 - the wall between one stream and the node
            _log.exception("stream handler failed")
        finally:
            stream.reset()

    async def _answer(self, stream: MuxStream) -> None:
        peer = stream.connection.peer
        offered = [IDENTIFY, PING]
        limits = self._limits(peer)
        if limits.max_frame_bytes:
            offered.append(GOSSIP)
            if limits.max_streams:
                offered += self._handlers
        with trio.fail_after(self._patience.negotiate_s):
            protocol = await accept(stream, offered)
        if protocol == GOSSIP:
            await self._on_gossip(stream)
        elif protocol == PING:
            await answer_pings(stream)
            await farewell(stream)
        elif protocol == IDENTIFY:
            listening = [str(address) for address in dialable(self._doors)]
            observed = str(replace(stream.connection.address, peer=None))
            await answer_identify(stream, self._identity.identify(listening, observed, offered))
            await farewell(stream)
        else:
            await self._on_request(stream, self._handlers[protocol])

    async def _on_gossip(self, stream: MuxStream) -> None:
        """A peer's gossip stream: the first word of one that dialed us, or the answer to ours."""
        connection = stream.connection
        if connection.outbound:
            link = self._links.of_connection(connection)
            if link is None or link.up:
                return
        else:
            link = await self._links.welcome(connection, self._patience.negotiate_s / 2)
            if link is None:
                connection.close("it is connected already")
                return
            try:
                link.outgoing = connection.open()
                with trio.fail_after(self._patience.negotiate_s):
                    await select(link.outgoing, GOSSIP)
                    await self._inbox.room(connection.peer)
            except (ConnectionError, NegotiationError, trio.TooSlowError) as error:
                self._links.drop(link, f"it didn't take our gossip stream: {error}")
                return
        if self._links.of_connection(connection) is link:
            self._links.bring_up(link)
            connection.spawn(self._write_frames, link)
            self._links.drop(link, await link.read_frames(stream, self._limits, self._inbox))

    async def _write_frames(self, link: Link) -> None:
        self._links.drop(link, await link.write_frames())

    async def _on_request(self, stream: MuxStream, handler: StreamHandler) -> None:
        """Hand a stream to its handler, if its peer is up and has not too many."""
        link = self._links.of_connection(stream.connection)
        if link is None:
            return
        with trio.fail_after(self._patience.negotiate_s):
            await link.settled.wait()
        if link.up and link.served_streams < self._limits(link.peer).max_streams:
            link.served_streams += 1
            try:
                async with self._messages(stream) as messages:
                    await handler(link.peer, messages)
            finally:
                link.served_streams -= 1

    def _messages(self, stream: MuxStream) -> MessageStream:
        peer = stream.connection.peer
        return MessageStream(stream, lambda: self._limits(peer).max_frame_bytes)


def _why(error: Exception) -> TurnedAway:
    match error:
        case trio.TooSlowError():
            return TurnedAway.TOO_SLOW
        case NoRoomError():
            return TurnedAway.NO_ROOM
        case NegotiationError():
            return TurnedAway.GARBAGE
        case HandshakeError():
            return TurnedAway.UNPROVEN
        case _:
            return TurnedAway.CUT


def _check_identity(place: Address, found: NodeId, ours: NodeId) -> None:
    if found == ours:
        raise DialError(DialFailure.SELF, f"{place} is this node itself")
    if place.peer is not None and found != place.peer:
        raise DialError(
            DialFailure.WRONG_IDENTITY,
            f"{place} was answered by another node, {peer_id_from_node_id(found)}",
        )
