"""Membership in the simulator: the real core of `gossip.membership` as a guest, and members that lie about others.

    bizra-sim explore --core simulations.members:Members

Connections are a knock and its answer, so that they can be lost, refused and broken like everything else. The last
`liars` nodes lie: they accuse everybody of being gone, send records of others that they have signed themselves, and
send old records again.
"""

# ruff: noqa: ANN401 - a guest takes whatever the world has
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gossip.codec import Natural, Wire, digest
from gossip.effects import Broadcast, CancelTimer, Notify, Persist, SetTimer
from gossip.effects import Send as SendTo
from gossip.identity import NodeId, Signer
from gossip.membership import Membership, Profile
from gossip.membership import events as told
from gossip.membership.core import BEAT_TIMER
from gossip.membership.mesh import MeshHabits
from gossip.membership.messages import MembershipMessage, Records, Rumours, federation_of
from gossip.membership.notices import Liveness, StatusChanged
from gossip.membership.records import SignedRecord, sign_record
from gossip.membership.suspicions import Statements
from simulations.guest import Guest, Note, Place, Received, Send, Started, TimerFired, Write, broken
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

START_MS = 1_700_000_000_000
_GENESIS = b"the genesis of the simulated federation"
_DIAL_TIMER = "dial "
_DIAL_MS = 2_000
_FULL_UP_TO = 6
_CROWD = 8
_SEEDS = 2
"""Everybody is told to join by the first so many."""


class Knock(Wire, frozen=True, tag="knock"):
    """Open a connection. `life` tells one start of a node from the next."""

    life: Natural


class Opened(Wire, frozen=True, tag="opened"):
    """The answer to a knock."""

    life: Natural


class Closed(Wire, frozen=True, tag="closed"):
    """The side that started then is gone, or knows of no connection."""

    life: Natural


def address_of(number: int) -> str:
    """Where a simulated node is dialed."""
    return f"/ip4/10.0.{number // 250}.{number % 250 + 1}/tcp/7430"


class Book:
    """What one run remembers: who is who, and what each has ever said of itself."""

    def __init__(self, nodes: int, liars: int, neighbours: int = 0) -> None:
        self.habits = MeshHabits.of(_FULL_UP_TO, neighbours) if neighbours else None
        """With `neighbours` a partial mesh, in which all but the first are observers."""
        self.keys = Keyring(Draws(0), real=False)
        self.signers: list[Signer] = [self.keys.signer(b"member", at) for at in range(nodes)]
        self.numbers = {NodeId(one.public): at for at, one in enumerate(self.signers)}
        self.at_address = {address_of(at): at for at in range(nodes)}
        self.liars = frozenset(range(nodes - liars, nodes))
        self.said: set[tuple[bytes, int, bytes]] = set()
        """Of honest nodes: id, number and digest of every record they have issued."""

    def issued(self, signed: SignedRecord) -> None:
        """An honest node describes itself so."""
        self.said.add(_name_of(signed))


def _name_of(signed: SignedRecord) -> tuple[bytes, int, bytes]:
    record = signed.record
    return record.node, record.seq, digest(b"record", signed.signature)


class Member:
    """The real core of one node, in the words of a guest."""

    def __init__(self, place: Place, book: Book) -> None:
        self.number, self.book = place.number, book
        role = dict.fromkeys(book.numbers, "validator")
        if book.habits is not None:
            role |= {node: "observer" for node, at in book.numbers.items() if at >= _SEEDS}
        self.signer = book.signers[place.number]
        self.core = Membership(
            profile=Profile(
                name=f"node {place.number}",
                addresses=(address_of(place.number),),
                capabilities=(),
                load=0,
                voting_key=self.signer.public,
                version="0.1.0",
            ),
            signer=self.signer,
            verifier=book.keys.verifier,
            genesis=_GENESIS,
            admitted=role.get,
            store=place.disk,
            jitter=self._jitter,
            nonce=place.number << 32,
            mesh=book.habits,
        )
        self._drawn = 0
        self.now_ms = 0
        self._life = 0
        self._links: dict[int, int] = {}
        """The other side's life, by its number."""
        self._dialing: set[int] = set()
        self._seen: dict[bytes, int] = {}

    def _jitter(self) -> float:
        self._drawn += 1
        return Draws(self.number).below(2**20, "jitter", self._drawn) / 2**20

    def handle(self, now_ms: int, event: Any) -> list[Any]:
        """One event of the world, through the core."""
        self.now_ms = max(self.now_ms, START_MS + now_ms)
        out: list[Any] = []
        match event:
            case Started():
                self._life = self.now_ms
                self._tell(told.Started(), out)
                joins = tuple(address_of(at) for at in range(_SEEDS) if at != self.number)
                self._tell(told.AddBootstrap(joins), out)
            case TimerFired() if event.name.startswith(_DIAL_TIMER):
                address = event.name.removeprefix(_DIAL_TIMER)
                self._dialing.discard(self.book.at_address[address])
                self._tell(told.DialFailed(address, "nobody answers"), out)
            case TimerFired():
                self._tell(told.TimerFired(event.name), out)
                if event.name == BEAT_TIMER:
                    out += self.beat()
            case Received():
                self._on_message(event.sender, event.message, out)
            case _:
                raise TypeError(f"no such event: {event!r}")
        self.core.check_invariants()
        if self.core.own_record is not None and self.number not in self.book.liars:
            self.book.issued(self.core.own_record)
        return out

    def beat(self) -> list[Any]:
        """What it does each second besides; a liar lies."""
        return []

    # Connections

    def _on_message(self, sender: int, message: Any, out: list[Any]) -> None:
        peer = NodeId(self.book.signers[sender].public)
        match message:
            case Knock():
                out.append(Send(sender, Opened(self._life)))  # type: ignore[arg-type]
                self._open(sender, peer, message.life, out, outbound=False)
            case Opened():
                self._dialing.discard(sender)
                self._open(sender, peer, message.life, out, outbound=True)
                out.append(CancelTimer(_DIAL_TIMER + address_of(sender)))
                self._tell(told.Dialed(address_of(sender), peer), out)
            case Closed() if self._links.get(sender, 0) <= message.life:
                self._close(sender, peer, out)
            case Closed():
                pass
            case _ if sender in self._links:
                self._tell(told.Received(peer, message), out)
                if isinstance(message, Records):
                    self._compare(message)
            case _ if sender not in self._dialing:
                out.append(Send(sender, Closed(self._life)))  # type: ignore[arg-type]
            case _:
                pass

    def _open(
        self, number: int, peer: NodeId, life: int, out: list[Any], *, outbound: bool
    ) -> None:
        if self._links.get(number) == life:
            return
        self._close(number, peer, out)
        self._links[number] = life
        self._tell(told.PeerUp(peer, address_of(number), outbound), out)

    def _close(self, number: int, peer: NodeId, out: list[Any]) -> None:
        if self._links.pop(number, None) is not None:
            self._tell(told.PeerDown(peer, "the connection broke"), out)

    # The core's wishes

    def _tell(self, event: told.MembershipEvent, out: list[Any]) -> None:
        for effect in self.core.handle(self.now_ms, event):
            match effect:
                case Broadcast():
                    out += (
                        Send(self.book.numbers[node], effect.message)  # type: ignore[arg-type]
                        for node in effect.to
                    )
                case SendTo():
                    out.append(Send(self.book.numbers[effect.to], effect.message))  # type: ignore[arg-type]
                case Persist():
                    out.append(Write(dict(effect.writes)))
                case SetTimer() | CancelTimer():
                    out.append(effect)
                case Notify():
                    out.append(Note(effect.what))
                case told.Dial():
                    self._dialing.add(self.book.at_address[effect.address])
                    out.append(Send(self.book.at_address[effect.address], Knock(self._life)))  # type: ignore[arg-type]
                    out.append(SetTimer(_DIAL_TIMER + effect.address, _DIAL_MS))
                case told.Disconnect():
                    number = self.book.numbers[effect.peer]
                    out.append(Send(number, Closed(self._life)))  # type: ignore[arg-type]
                    self._close(number, effect.peer, out)
                case _:
                    pass

    # What must hold of what it believes

    def _compare(self, message: Records) -> None:
        """Nobody's record goes back, and none is believed that an honest node has not issued."""
        for signed in message.records:
            node = NodeId(signed.record.node)
            known = self.core.record_of(node)
            if known is None:
                continue
            before = self._seen.get(node, -1)
            if known.seq < before:
                broken(
                    "records", f"n{self.number} rolled {node.hex()[:8]} back to record {known.seq}"
                )
            self._seen[node] = known.seq
            number = self.book.numbers.get(node)
            is_forged = signed.record == known and _name_of(signed) not in self.book.said
            if number is not None and number not in self.book.liars and is_forged:
                broken("records", f"n{self.number} believes a forged record of n{number}")

    @property
    def links(self) -> int:
        """How many connections it has."""
        return len(self._links)

    def status_of(self, number: int) -> Liveness | None:
        """What it thinks of a node; None if it does not know it."""
        node = NodeId(self.book.signers[number].public)
        return next((row.status for row in self.core.table() if row.node_id == node), None)


class LyingMember(Member):
    """A member, otherwise sound, that tells others lies every second."""

    def __init__(self, place: Place, book: Book) -> None:
        super().__init__(place, book)
        self._old: dict[int, SignedRecord] = {}
        self._beats = 0

    def beat(self) -> list[Any]:
        """In turn: accuse, forge, send old records again."""
        self._beats += 1
        victims = [at for at in range(len(self.book.signers)) if at not in self.book.liars]
        victim = victims[self._beats // 3 % len(victims)]
        record = self.core.record_of(NodeId(self.book.signers[victim].public))
        if record is None:
            return []
        lie: MembershipMessage
        match self._beats % 3:
            case 0:
                statements = Statements(
                    federation_of(_GENESIS), self.signer, self.book.keys.verifier
                )
                lie = Rumours((statements.suspect(NodeId(record.node), record.seq),), ())
            case 1:
                lie = Records((self._forged(victim),))
            case _:
                kept = self._old.get(victim)
                if kept is None:
                    return []
                lie = Records((kept,))
        return [Send(at, lie) for at in self._links if at != victim]  # type: ignore[arg-type]

    def _on_message(self, sender: int, message: Any, out: list[Any]) -> None:
        if isinstance(message, Records):
            for signed in message.records:
                number = self.book.numbers.get(NodeId(signed.record.node))
                if number is not None:
                    self._old.setdefault(number, signed)
        super()._on_message(sender, message, out)

    def _forged(self, victim: int) -> SignedRecord:
        """A newer record of somebody else at this node's own address, under this node's own signature."""
        own = self.core.own_record
        assert own is not None
        signed = sign_record(own.record, self.signer)
        false = type(own.record)(
            **{
                **{name: getattr(own.record, name) for name in own.record.__struct_fields__},
                "node": self.book.signers[victim].public,
                "seq": own.record.seq + 1_000_000,
            }
        )
        return SignedRecord(false, signed.signature)


class Members(Guest):
    """See the module. `liars`: how many lie (default 2 of 7). `calm`: nobody may be taken for dead at any time.

    `neighbours`: a partial mesh, each chooses so many; after healing none has more than eight times that.
    """

    nodes: ClassVar[int] = 7
    messages: ClassVar[Any] = MembershipMessage | Knock | Opened | Closed
    bound_ms: ClassVar[int] = 120_000

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        self._book: Book | None = None

    def boot(self, place: Place) -> Member:
        if self._book is None:
            liars = int(self.parameters.get("liars", (place.nodes - 1) // 3))
            neighbours = int(self.parameters.get("neighbours", 0))
            self._book = Book(place.nodes, liars, neighbours)
        kind = LyingMember if place.number in self._book.liars else Member
        return kind(place, self._book)

    def noted(self, node: int, what: Any) -> None:
        """In a calm run nobody who is there is taken for gone, whatever liars say."""
        book = self._book
        if book is None or not isinstance(what, StatusChanged) or node in book.liars:
            return
        about = book.numbers.get(what.node)
        if self.parameters.get("calm") and what.after is Liveness.DEAD and about not in book.liars:
            broken("nobody healthy dead", f"n{node} takes n{about} for dead")

    def missing(self, cores: Mapping[int, Any]) -> str:
        """After healing every honest node knows every other, as alive."""
        honest = {at: one for at, one in cores.items() if isinstance(one, Member)}
        neighbours = int(self.parameters.get("neighbours", 0))
        for at, one in sorted(honest.items()):
            if neighbours and one.links > _CROWD * neighbours:
                return f"n{at} has {one.links} connections"
        for at, one in sorted(honest.items()):
            if at in one.book.liars:
                continue
            for other in sorted(honest):
                if other == at or other in one.book.liars:
                    continue
                status = one.status_of(other)
                if status is not Liveness.ALIVE:
                    told_ = "does not know" if status is None else f"thinks {status.value} of"
                    return f"n{at} {told_} n{other}"
        return ""

    def describe(self, core: Any) -> str:
        """How many it knows to be alive."""
        rows = core.core.table()
        alive = sum(row.status is Liveness.ALIVE for row in rows)
        return f"knows={len(rows)} alive={alive}"
