"""Who is connected: at most one link a peer, whatever both sides dial and however often."""

from __future__ import annotations

from collections.abc import Callable

import trio

from gossip.identity import NodeId
from gossip.transport import PeerDown, PeerUp
from gossip.transport.inbox import Inbox
from gossip.transport.link import Link
from gossip.transport.muxer import Connection
from gossip.transport.outbox import OutboxBounds

_CROSSING_S = 2.0
"""How long after a refused dial the other side's own dial may still be on its way."""


class Links:
    """The links of one node, pending and up, and the rules by which they come and go."""

    def __init__(
        self,
        node_id: NodeId,
        inbox: Inbox,
        bounds: OutboxBounds,
        on_filled: Callable[[Link], None],
    ) -> None:
        self._node_id = node_id
        self._inbox = inbox
        self._bounds, self._on_filled = bounds, on_filled
        self._links: dict[NodeId, Link] = {}
        self._changed = trio.lowlevel.ParkingLot()

    def get(self, peer: NodeId) -> Link | None:
        """The peer's link, pending or up."""
        return self._links.get(peer)

    def get_up(self, peer: NodeId) -> Link | None:
        """The peer's link, if frames flow on it."""
        link = self._links.get(peer)
        return link if link is not None and link.up else None

    def all_up(self) -> list[Link]:
        """Every link on which frames flow."""
        return [link for link in self._links.values() if link.up]

    def of_connection(self, connection: Connection) -> Link | None:
        """The link that stands on this connection."""
        link = self._links.get(connection.peer)
        return link if link is not None and link.connection is connection else None

    def begin(self, connection: Connection, address: str) -> Link:
        """Note a pending link of a peer that has none."""
        assert connection.peer not in self._links
        link = Link(connection, address, self._bounds, self._on_filled)
        self._links[connection.peer] = link
        self._changed.unpark_all()
        return link

    async def welcome(self, connection: Connection, probe_s: float) -> Link | None:
        """A pending link for a peer that dialed us, or None if another connection stays."""
        while (old := self._links.get(connection.peer)) is not None:
            if old.connection is connection:
                return None
            if old.up:
                # Honest peers don't dial twice: this one has started anew, or its dial crossed
                # ours.
                if await old.connection.answers(probe_s):
                    return None
                self.drop(old, "it connected anew")
            elif old.connection.outbound and self._node_id < connection.peer:
                return None
            else:
                self.drop(old, "the connection that it dialed stays")
        return self.begin(connection, str(connection.address))

    def bring_up(self, link: Link) -> None:
        """Frames may flow."""
        assert self._links.get(link.peer) is link
        assert not link.up
        link.up = True
        self._inbox.put_now(PeerUp(link.peer, link.address, link.connection.outbound))
        link.settled.set()

    def drop(self, link: Link, reason: str) -> None:
        """End a link and its connection. Done already, it does nothing."""
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            if link.up:
                self._inbox.put_now(PeerDown(link.peer, reason))
                link.up = False
            link.settled.set()
            self._changed.unpark_all()
        link.connection.close(reason)

    async def settled(self, peer: NodeId) -> bool:
        """Wait until a link that is being made is up or has failed; say whether it is up."""
        while True:
            link = self._links.get(peer)
            if link is None and self._node_id < peer:
                # Only the larger one's dial gives way to another, so nothing is to come.
                return False
            if link is None:
                with trio.move_on_after(_CROSSING_S) as limit:
                    while peer not in self._links:
                        await self._changed.park()
                if limit.cancelled_caught:
                    return False
            elif link.up:
                return True
            else:
                await link.settled.wait()
