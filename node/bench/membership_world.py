"""A calm federation of whole membership cores on one virtual clock: all that they say while nothing happens, by kind.

The detector's questions, records and questions for them, hellos and strolls are all counted. A dial counts as what the
transport says before the first hello. Not counted, here as in the other worlds: encryption, TCP, keep-alives. Nobody is
slow or lies, and no message is lost.

All know each other's newest records from disk, and connect at the same moment. Each has signed its own before that, one
after the other, so that renewals are spread over time as among nodes that were started one by one. Before anything is
measured, the world has to run for `settling_ms`: until as many records are on their way as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from gossip.codec import Wire, encode
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
)
from gossip.identity import NodeId
from gossip.membership import Membership, Profile
from gossip.membership.events import (
    Dial,
    Dialed,
    DialFailed,
    Disconnect,
    MembershipEffect,
    MembershipEvent,
    PeerDown,
    PeerUp,
    Received,
    Started,
    TimerFired,
)
from gossip.membership.mesh import MeshHabits
from gossip.membership.messages import federation_of
from gossip.membership.notices import Liveness
from gossip.membership.own_record import OwnRecord
from gossip.membership.peer_table import PeerTable
from gossip.membership.records import Capability
from gossip.membership.timing import Timing, spaced
from gossip.transport.peer_id import peer_id_from_node_id
from node.bench.detection_world import EPOCH_MS, FRAME_BYTES, KeyedHash
from node.bench.gossip_world import LINK_MS, Dweller, GossipWorld
from node.service import VERSION

HANDSHAKE = "Handshake"
HANDSHAKE_MESSAGES = 15
HANDSHAKE_BYTES = 75
"""Of each of them: on loopback both sides wrote 1,116 bytes for multistream, Noise, Yamux and Identify."""
EVERYBODY = MeshHabits(full_up_to=2**20)
"""All are connected with all, however many they are."""
_GENESIS = b"the genesis of the measured federation"
_VALIDATORS = 7
_DIAL_MS = 4 * LINK_MS
_IN_VAIN_MS = 5_000
_LEAST_PHASE_MS = 1_000
_ROUNDS = 3
_HEAD_START_MS = 1_000
"""So long all have to connect before anybody is asked whether it is there."""
_AWAKE_MS = 2_000
_NOTHING = "nothing"


class Disk:
    """What a node knew of all when the world began. Nobody starts anew, so that nothing written since is read."""

    def __init__(self, node: NodeId, pairs: dict[bytes, bytes]) -> None:
        self._node, self._pairs = node, pairs

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueReader.get`."""
        return self._pairs.get(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """See `KeyValueReader.scan`; nobody has a row of itself."""
        return sorted(
            pair
            for pair in self._pairs.items()
            if pair[0].startswith(prefix) and not pair[0].endswith(self._node)
        )


@dataclass(slots=True)
class Household:
    """One node: its core, who is connected with it, when its timers are due; the next one is `told`."""

    dweller: Dweller
    core: Membership
    lines: set[NodeId] = field(default_factory=set)
    timers: dict[str, int] = field(default_factory=dict)


class MembershipWorld(GossipWorld):
    """See the module. `habits` says who is connected with whom; without it as in a daemon."""

    def __init__(self, nodes: int, *, seed: int, habits: MeshHabits | None = None) -> None:
        super().__init__(nodes, loss=0, slow=0, liars=0, seed=seed)
        self._address_of = {name: address_of(at, name) for at, name in enumerate(self.names)}
        self._at_address = {address: name for name, address in self._address_of.items()}
        self._roles = {
            name: "validator" if at < _VALIDATORS else "observer"
            for at, name in enumerate(self.names)
        }
        # One after the other, so that renewals are spread evenly.
        self._alone_ms = {
            name: int(spaced(Timing().refresh_ms, nodes) * (at + self.dice.random()) / nodes)
            for at, name in enumerate(self.dice.sample(self.names, nodes))
        }
        known = self._known_to_all()
        pairs = {key: value for key, value in known.everything() if value is not None}
        self.households: dict[NodeId, Household] = {}
        for name in self.names:
            core = self._core(name, Disk(name, pairs), habits)
            self._lighten(core, known)
            self.households[name] = Household(self.dwellers[name], core)
        for one in self.households.values():
            self._begin(one)

    @property
    def settling_ms(self) -> int:
        """So long a record is on its way to those that are not connected with its node, nearly always."""
        return _ROUNDS * spaced(Timing().pull_ms, len(self.names))

    def links(self) -> list[int]:
        """How many connections each has."""
        return [len(one.lines) for one in self.households.values()]

    def is_dead_to(self, node: NodeId, other: NodeId) -> bool:
        """See `GossipWorld`."""
        return any(
            row.node_id == other and row.status is Liveness.DEAD
            for row in self.households[node].core.table()
        )

    def not_alive(self) -> int:
        """Of how many pairs the one does not take the other for alive."""
        return sum(
            row.status is not Liveness.ALIVE
            for one in self.households.values()
            for row in one.core.table()
        )

    def profile(self, name: NodeId) -> Profile:
        """What a daemon says of itself that lends two models beside what the embedded one does."""
        at = self.names.index(name)
        embedded, first, second = (bytes([number]) * 32 for number in range(3))
        return Profile(
            name=f"node-{at:04}",
            addresses=(self._address_of[name],),
            capabilities=(
                Capability("inference", "embed", embedded, 1, 8),
                Capability("inference", "rank", embedded, 1, 8),
                Capability("models", "qwen2.5-7b-instruct-q4_k_m", first, 3, 4),
                Capability("models", "llama-3.2-3b-instruct-q4_k_m", second, 2, 4),
            ),
            load=0,
            voting_key=name,
            version=VERSION,
        )

    # How it begins

    def _known_to_all(self) -> PeerTable:
        """The records that all are going to sign when they start."""
        federation = federation_of(_GENESIS)
        table = PeerTable()
        for name in self.names:
            own = OwnRecord(self.profile(name), KeyedHash(name), federation, Disk(name, {}))
            own.renew(EPOCH_MS - self._alone_ms[name])
            table.put(EPOCH_MS, own.signed)
        return table

    def _core(self, name: NodeId, disk: Disk, habits: MeshHabits | None) -> Membership:
        key = KeyedHash(name)
        return Membership(
            profile=self.profile(name),
            signer=key,
            verifier=key,
            genesis=_GENESIS,
            admitted=self._roles.get,
            store=disk,
            jitter=self.dice.random,
            nonce=self.dice.getrandbits(32),
            mesh=habits,
        )

    def _lighten(self, core: Membership, known: PeerTable) -> None:
        """Save what no message depends on: a copy of each record at each node, and telling whose status has changed."""
        inside = core._inside  # noqa: SLF001 - only to save time and memory
        assert inside is not None
        inside.outlook.watch_all = _overlook  # type: ignore[method-assign]
        for node, peer in inside.exchange.table.rows():
            peer.signed = known.signed_of(node)

    def _begin(self, one: Household) -> None:
        """It signed its record some time ago, and has had nobody to talk to since then; now it dials."""
        alone_ms = self._alone_ms[one.dweller.node]
        effects = one.core.handle(EPOCH_MS - alone_ms, Started())
        for left_ms in range(alone_ms, 0, -_AWAKE_MS):
            # Or else it would think that its machine was asleep.
            effects += one.core.handle(EPOCH_MS - left_ms, TimerFired(_NOTHING))
        for effect in effects:
            match effect:
                case Dial():
                    self._dial(one, effect.address)
                case SetTimer():
                    phase_ms = self.dice.randrange(max(effect.delay_ms, _LEAST_PHASE_MS))
                    self._set_timer(one, effect.name, _HEAD_START_MS + phase_ms)
                case _:
                    pass

    # What happens

    def _tell(self, one: Household, event: MembershipEvent) -> None:
        if not one.dweller.up:
            return
        for effect in one.core.handle(EPOCH_MS + self.now_ms, event):
            match effect:
                case Send():
                    self._send(one, (effect.to,), effect.message)
                case Broadcast():
                    self._send(one, effect.to, effect.message)
                case SetTimer():
                    self._set_timer(one, effect.name, effect.delay_ms)
                case CancelTimer():
                    one.timers.pop(effect.name, None)
                case Dial():
                    self._dial(one, effect.address)
                case Disconnect():
                    self.at(0, partial(self._hang_up, one, effect.peer))
                case Persist() | Notify():
                    pass
                case Rejected():
                    raise AssertionError(f"nobody here forges, and yet: {effect}")
                case _:
                    assert_never(effect)

    def _set_timer(self, one: Household, name: str, delay_ms: int) -> None:
        due_ms = one.timers[name] = self.now_ms + delay_ms
        self.at(delay_ms, partial(self._fire, one, name, due_ms))

    def _fire(self, one: Household, name: str, due_ms: int) -> None:
        if one.timers.get(name) == due_ms:
            del one.timers[name]
            self._tell(one, TimerFired(name))

    def _send(self, one: Household, to: Sequence[NodeId], message: Wire) -> None:
        there = [name for name in to if name in one.lines]
        self.count(len(there), len(encode(message)) + FRAME_BYTES, type(message).__name__)
        received = Received(one.dweller.node, message)  # type: ignore[arg-type]
        for name in there:
            self.at(LINK_MS, partial(self._arrive, self.households[name], received))

    def _arrive(self, one: Household, received: Received) -> None:
        if received.peer in one.lines:
            self._tell(one, received)

    def _dial(self, one: Household, address: str) -> None:
        other = self.households[self._at_address[address]]
        if other.dweller.up:
            self.at(_DIAL_MS, partial(self._reached, one, other, address))
        else:
            self.at(_IN_VAIN_MS, partial(self._tell, one, DialFailed(address, "nobody answers")))

    def _reached(self, one: Household, other: Household, address: str) -> None:
        caller, callee = one.dweller.node, other.dweller.node
        if callee not in one.lines and other.dweller.up:
            self.count(HANDSHAKE_MESSAGES, HANDSHAKE_BYTES, HANDSHAKE)
            one.lines.add(callee)
            other.lines.add(caller)
            self._tell(other, PeerUp(caller, self._address_of[caller], outbound=False))
            self._tell(one, PeerUp(callee, address, outbound=True))
        self._tell(one, Dialed(address, callee))

    def _hang_up(self, one: Household, peer: NodeId) -> None:
        other, node = self.households[peer], one.dweller.node
        if peer in one.lines:
            one.lines.remove(peer)
            other.lines.remove(node)
            self._tell(one, PeerDown(peer, "this side has ended it"))
            self._tell(other, PeerDown(node, "the other side has ended it"))


def _overlook(out: list[MembershipEffect]) -> None:
    """Tell nothing."""


def address_of(at: int, node: NodeId) -> str:
    """One address in a LAN, as a daemon names it."""
    return f"/ip4/192.168.{at // 250}.{at % 250 + 1}/tcp/7430/p2p/{peer_id_from_node_id(node)}"
