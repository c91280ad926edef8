"""The detectors of a partial mesh: each is connected with the neighbours that it chose and that chose it.

Choices are drawn once, as many as `MeshHabits` has. Who is asked about and is not connected is dialed: a round trip for
the connection, one for the hellos, six messages in all; who is gone answers nothing. After half a minute who dialed
says that it can do without the connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossip.codec import Wire
from gossip.identity import NodeId
from gossip.membership.mesh import MeshHabits
from gossip.membership.messages import Spare
from node.bench.detection_world import DetectionWorld, Resident
from node.bench.gossip_world import LINK_MS

_DIAL = "Dial"
_HANDSHAKE_MESSAGES = 6
_HANDSHAKE_BYTES = 300
"""Of each of them, about: a signed record is 400 to 700, an acknowledgement nothing."""


class Neighbour(Resident):
    """A detector among neighbours."""

    __slots__ = ("dialed", "links")

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.links: dict[NodeId, None] = {}
        self.dialed: set[NodeId] = set()

    def connected(self) -> Sequence[NodeId]:
        """See `roster.Roster`."""
        return list(self.links)

    watched = friends = connected

    def is_far(self, node: NodeId) -> bool:
        """See `roster.Roster`."""
        return node not in self.links


class MeshedWorld(DetectionWorld):
    """See the module."""

    resident = Neighbour

    def __init__(self, nodes: int, *, loss: float, slow: float, liars: int, seed: int) -> None:
        super().__init__(nodes, loss=loss, slow=slow, liars=liars, seed=seed)
        for name in self.names:
            others = [other for other in self.names if other != name]
            for other in self.dice.sample(others, min(len(others), MeshHabits().neighbours)):
                self._connect(name, other)

    def most_links(self) -> int:
        """The greatest number of connections that a node has."""
        return max(len(self._links_of(name)) for name in self.names)

    def _links_of(self, name: NodeId) -> dict[NodeId, None]:
        one = self.residents[name]
        assert isinstance(one, Neighbour)
        return one.links

    def _connect(self, one: NodeId, other: NodeId) -> None:
        self._links_of(one)[other] = None
        self._links_of(other)[one] = None

    def after(self, one: Resident) -> None:
        """Dial whom its detector asks about."""
        super().after(one)
        assert isinstance(one, Neighbour)
        for node in one.core.asked():
            if node not in one.links and node not in one.dialed:
                one.dialed.add(node)
                self._dial(one, node)

    def _dial(self, one: Neighbour, node: NodeId) -> None:
        self.count(1, 0, _DIAL)
        if not self.dwellers[node].up:
            self.at(5_000, lambda: one.dialed.discard(node))
            return
        self.count(_HANDSHAKE_MESSAGES, _HANDSHAKE_BYTES, _DIAL)

        def there() -> None:
            one.dialed.discard(node)
            if self.dwellers[node].up and one.dweller.up:
                self._connect(one.node, node)
                one.core.heard(self.now_ms, node)
                self.after(one)
                self.at(MeshHabits().linger_ms, lambda: self._let_go(one, node))

        self.at(4 * LINK_MS + self.lag_ms(node) + self.lag_ms(one.node), there)

    def _let_go(self, one: Neighbour, node: NodeId) -> None:
        if self.dwellers[one.node].up and self.dwellers[node].up and node in one.links:
            self.send(one, (node,), Spare(full=False))
            del one.links[node], self._links_of(node)[one.node]

    def lie_to(self, liar: Resident) -> list[NodeId]:
        """Only neighbours hear a liar."""
        return [name for name in self._links_of(liar.node) if not self.dwellers[name].liar]

    def send(self, one: Resident, to: Sequence[NodeId], message: Wire) -> None:
        """Only to neighbours."""
        links = self._links_of(one.node)
        super().send(one, [name for name in to if name in links], message)


class PlottingWorld(MeshedWorld):
    """As `MeshedWorld`, but each lie is told by another liar, so that nobody hears it from the accuser itself."""

    def teller_of(self, liar: Resident) -> Resident:
        """Any other liar."""
        others = [one for one in self.residents.values() if one.dweller.liar and one is not liar]
        return self.dice.choice(others) if others else liar
