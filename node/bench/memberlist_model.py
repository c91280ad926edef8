"""A baseline to compare with: memberlist's published algorithm with its default LAN parameters, in the same world.

Our own model of hashicorp/memberlist (SWIM with Lifeguard: `state.go`, `suspicion.go`, `awareness.go`, `queue.go` and
`DefaultLANConfig` of version 0.5), not that program: pings piggyback what is to be told, gossip goes to three members
every 200 ms, indirect pings and a ping by TCP back up a failed one, nacks tell a node that it is slow itself, the time
until a suspect is dead falls with confirmations, full states are exchanged by TCP every 30 s, among many more rarely.

Kept as it is there: nothing is signed, any member's word counts, and who is dead to one is told to be dead to all.
Sizes are those of its messages in MessagePack with its field names and a checksum, without encryption, names of nine
letters. TCP loses nothing but a connection whose first two packets are lost, and pays 200 ms for a packet lost later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import msgspec

from gossip.identity import NodeId
from node.bench.gossip_world import LIE_MS, LINK_MS, Dweller, GossipWorld

PROBE_MS = 1_000
TIMEOUT_MS = 500
GOSSIP_MS = 200
PUSH_PULL_MS = 30_000
TO_THE_DEAD_MS = 30_000
INDIRECT = 3
FANOUT = 3
SUSPICION_MULT = 4
LONGEST_MULT = 6
RETRANSMIT_MULT = 4
MOST_ILL = 8
UDP_BYTES = 1_400

_ALIVE, _SUSPECT, _DEAD = range(3)
_CHECKSUM_BYTES = 6
_COMPOUND_BYTES = 2
_PART_BYTES = 2
_RTO_MS = 200
_MANY = 32
_NAME = "node-0001"
_ADDRESS = bytes(4)
_VERSIONS = bytes([1, 5, 2, 0, 0, 0])


@cache
def _size(kind: str) -> int:
    """One byte for the type, then the fields of that message."""
    fields: dict[str, dict[str, object]] = {
        "ping": {
            "SeqNo": 70_000,
            "Node": _NAME,
            "SourceAddr": _ADDRESS,
            "SourcePort": 7946,
            "SourceNode": _NAME,
        },
        "indirect": {
            "SeqNo": 70_000,
            "Target": _ADDRESS,
            "Port": 7946,
            "Node": _NAME,
            "Nack": True,
            "SourceAddr": _ADDRESS,
            "SourcePort": 7946,
            "SourceNode": _NAME,
        },
        "ack": {"SeqNo": 70_000, "Payload": b""},
        "nack": {"SeqNo": 70_000},
        "suspect": {"Incarnation": 1, "Node": _NAME, "From": _NAME},
        "dead": {"Incarnation": 1, "Node": _NAME, "From": _NAME},
        "alive": {
            "Incarnation": 1,
            "Node": _NAME,
            "Addr": _ADDRESS,
            "Port": 7946,
            "Meta": b"",
            "Vsn": _VERSIONS,
        },
        "state": {
            "Name": _NAME,
            "Addr": _ADDRESS,
            "Port": 7946,
            "Meta": b"",
            "Incarnation": 1,
            "State": 0,
            "Vsn": _VERSIONS,
        },
    }
    return 1 + len(msgspec.msgpack.encode(fields[kind]))


@dataclass(frozen=True, slots=True)
class Word:
    """What one says of a member: `kind` is alive, suspect or dead."""

    kind: str
    node: NodeId
    incarnation: int
    source: NodeId


@dataclass(slots=True)
class _Told:
    word: Word
    times: int
    order: int


@dataclass(slots=True)
class _State:
    """What a node thinks of another; while it is a suspect, since when and by whose word."""

    incarnation: int = 0
    state: int = _ALIVE
    since_ms: int = 0
    accuser: NodeId | None = None
    confirmed: set[NodeId] = field(default_factory=set)
    turn: int = 0


@dataclass(slots=True)
class _Ping:
    """One probe under way, or one asked for by another (`asker`)."""

    node: NodeId
    on_ack: Callable[[], None]
    nacks: int = 0


class MemberlistNode:
    """One node of the model. `world` carries what it sends."""

    def __init__(self, dweller: Dweller, world: MemberlistWorld) -> None:
        self.dweller, self.node, self._world = dweller, dweller.node, world
        self.others: dict[NodeId, _State] = {
            name: _State() for name in sorted(world.names) if name != self.node
        }
        self.incarnation = 1
        self._order = count()
        self._ill = 0
        self._round: list[NodeId] = []
        self._queue: dict[NodeId, _Told] = {}
        self._pings: dict[int, _Ping] = {}
        self._seq = count(world.dice.getrandbits(16))
        for state in self.others.values():
            state.incarnation = 1

    # Time

    def start(self) -> None:
        """Each schedule begins at a moment of its own."""
        dice = self._world.dice
        self._later(dice.randrange(PROBE_MS), self._probe)
        self._later(dice.randrange(GOSSIP_MS), self._gossip)
        push_pull_ms = self._push_pull_ms()
        self._later(dice.randrange(push_pull_ms), self._push_pull)

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        def due() -> None:
            if self.dweller.up:
                action()

        self._world.at(delay_ms + self._world.lag_ms(self.node), due)

    def _probe(self) -> None:
        """`probeNode`: the next tick waits for its end, which a node that is ill puts off."""
        began_ms = self._world.now_ms
        node = self._next()
        period_ms = PROBE_MS * (1 + self._ill)
        self._later(period_ms, self._probe)
        if node is None:
            return
        seq, is_over = next(self._seq), False

        def on_ack() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._pings.pop(seq, None)
                self._ill = max(0, self._ill - 1)

        ping = self._pings[seq] = _Ping(node, on_ack)
        state = self.others[node]
        if state.state == _ALIVE:
            self._send(node, "ping", seq)
        else:
            # A suspect hears at once that it is one.
            word = Word("suspect", node, state.incarnation, self.node)
            self._send(node, "ping", seq, (word,))

        def on_timeout() -> None:
            if is_over:
                return
            helpers = self._pick(INDIRECT, lambda one: one != node and self._state(one) == _ALIVE)
            for helper in helpers:
                self._send(helper, "indirect", seq, (), node)
            self._world.tcp_ping(self, node, began_ms + period_ms, on_ack)
            self._later(
                max(0, began_ms + period_ms - self._world.now_ms), lambda: on_end(len(helpers))
            )

        def on_end(expected: int) -> None:
            nonlocal is_over
            if is_over:
                return
            is_over = True
            del self._pings[seq]
            delta = max(0, expected - ping.nacks) if expected else 1
            self._ill = min(MOST_ILL - 1, self._ill + delta)
            self.take(Word("suspect", node, state.incarnation, self.node))

        self._later(TIMEOUT_MS, on_timeout)

    def _next(self) -> NodeId | None:
        for _ in range(len(self.others) + 1):
            if not self._round:
                now_ms = self._world.now_ms
                self._round = [
                    name
                    for name, state in self.others.items()
                    if state.state != _DEAD or now_ms - state.since_ms <= TO_THE_DEAD_MS
                ]
                self._world.dice.shuffle(self._round)
            node = self._round.pop() if self._round else None
            if node is not None and self._state(node) != _DEAD:
                return node
        return None

    def _gossip(self) -> None:
        self._later(GOSSIP_MS, self._gossip)
        if not self._queue:
            return
        now_ms = self._world.now_ms

        def hears(one: NodeId) -> bool:
            state = self.others[one]
            return state.state != _DEAD or now_ms - state.since_ms <= TO_THE_DEAD_MS

        for peer in self._pick(FANOUT, hears):
            words = tuple(self._broadcasts(UDP_BYTES - _COMPOUND_BYTES))
            if not words:
                return
            self._world.packet(self, peer, "gossip", 0, words)

    def _push_pull(self) -> None:
        self._later(self._push_pull_ms(), self._push_pull)
        for peer in self._pick(1, lambda one: self._state(one) == _ALIVE):
            self._world.push_pull(self, peer)

    def _push_pull_ms(self) -> int:
        size = len(self.others) + 1
        scale = math.ceil(math.log2(size) - math.log2(_MANY)) + 1 if size > _MANY else 1
        return PUSH_PULL_MS * scale

    # Packets

    def on_packet(
        self, sender: NodeId, kind: str, seq: int, words: Sequence[Word], about: NodeId | None
    ) -> None:
        """One packet with what it carries along."""
        if self.dweller.liar and kind not in ("ping", "ack"):
            return
        match kind:
            case "ping":
                self._send(sender, "ack", seq)
            case "ack":
                ping = self._pings.get(seq)
                if ping is not None:
                    ping.on_ack()
            case "nack":
                ping = self._pings.get(seq)
                if ping is not None:
                    ping.nacks += 1
            case "indirect":
                assert about is not None
                self._help(sender, seq, about)
            case _:
                pass
        if not self.dweller.liar:
            for word in words:
                self.take(word)

    def _help(self, asker: NodeId, seq: int, about: NodeId) -> None:
        own = next(self._seq)

        def on_ack() -> None:
            if self._pings.pop(own, None) is not None:
                self._send(asker, "ack", seq)

        def on_timeout() -> None:
            if self._pings.pop(own, None) is not None:
                self._send(asker, "nack", seq)

        self._pings[own] = _Ping(about, on_ack)
        self._send(about, "ping", own)
        self._later(TIMEOUT_MS, on_timeout)

    def _send(
        self,
        to: NodeId,
        kind: str,
        seq: int,
        words: tuple[Word, ...] = (),
        about: NodeId | None = None,
    ) -> None:
        """A packet, with as many broadcasts as fit, unless it has to say something itself."""
        if not words and self._queue and not self.dweller.liar:
            words = tuple(self._broadcasts(UDP_BYTES - _COMPOUND_BYTES - _size(kind)))
        self._world.packet(self, to, kind, seq, words, about=about)

    def _broadcasts(self, room: int) -> Iterator[Word]:
        """`TransmitLimitedQueue.GetBroadcasts`: told least first, then the newest."""
        limit = RETRANSMIT_MULT * math.ceil(math.log10(len(self.others) + 2))
        for told in sorted(self._queue.values(), key=lambda one: (one.times, -one.order)):
            needed = _PART_BYTES + _size(told.word.kind)
            if needed > room:
                continue
            room -= needed
            told.times += 1
            if told.times >= limit:
                del self._queue[told.word.node]
            yield told.word

    def _tell(self, word: Word) -> None:
        self._queue[word.node] = _Told(word, 0, next(self._order))

    # What is said of members

    def take(self, word: Word) -> None:
        """`aliveNode`, `suspectNode`, `deadNode`."""
        if word.node == self.node:
            if word.kind != "alive" and word.incarnation >= self.incarnation:
                self._refute(word.incarnation)
            return
        state = self.others[word.node]
        match word.kind:
            case "alive" if word.incarnation > state.incarnation:
                state.incarnation = word.incarnation
                self._become(state, _ALIVE)
                self._tell(word)
            case "suspect" if word.incarnation >= state.incarnation:
                self._suspect(state, word)
            case "dead" if word.incarnation >= state.incarnation and state.state != _DEAD:
                state.incarnation = word.incarnation
                self._become(state, _DEAD)
                self._tell(word)
            case _:
                pass
        self._world.noticed(self, word.node, state.state)

    def _suspect(self, state: _State, word: Word) -> None:
        wanted = self._wanted()
        if state.state == _SUSPECT:
            fresh = word.source != state.accuser and word.source not in state.confirmed
            if fresh and len(state.confirmed) < wanted:
                state.confirmed.add(word.source)
                self._tell(word)
                self._await_end(word.node, state)
            return
        if state.state == _ALIVE:
            state.incarnation = word.incarnation
            self._become(state, _SUSPECT)
            state.accuser = word.source
            self._tell(word)
            self._await_end(word.node, state)

    def _become(self, state: _State, what: int) -> None:
        state.turn += 1
        state.accuser = None
        state.confirmed.clear()
        if state.state != what:
            state.state, state.since_ms = what, self._world.now_ms

    def _wanted(self) -> int:
        confirmations = SUSPICION_MULT - 2
        return confirmations if len(self.others) - 1 >= confirmations else 0

    def _await_end(self, node: NodeId, state: _State) -> None:
        """`suspicion.go`: from six times the least down to the least, by confirmations."""
        size, wanted = len(self.others) + 1, self._wanted()
        least = SUSPICION_MULT * max(1.0, math.log10(size)) * PROBE_MS
        after = least
        if wanted:
            share = math.log(len(state.confirmed) + 1) / math.log(wanted + 1)
            longest = LONGEST_MULT * least
            after = max(least, longest - share * (longest - least))
        turn = state.turn

        def is_over() -> None:
            due_ms = state.since_ms + int(after)
            if state.state == _SUSPECT and state.turn == turn and self._world.now_ms >= due_ms:
                self.take(Word("dead", node, state.incarnation, self.node))

        self._later(max(0, state.since_ms + int(after) - self._world.now_ms), is_over)

    def _refute(self, accused: int) -> None:
        self.incarnation = accused + 1
        self._ill = min(MOST_ILL - 1, self._ill + 1)
        self._tell(Word("alive", self.node, self.incarnation, self.node))

    def states(self) -> list[Word]:
        """What push-pull tells; a dead one is only a suspect to who hears of it so."""
        kinds = ("alive", "suspect", "suspect")
        said = [
            Word(kinds[one.state], name, one.incarnation, self.node)
            for name, one in self.others.items()
        ]
        return [*said, Word("alive", self.node, self.incarnation, self.node)]

    def _state(self, node: NodeId) -> int:
        return self.others[node].state

    def _pick(self, wanted: int, fits: Callable[[NodeId], bool]) -> list[NodeId]:
        """`kRandomNodes`: so many of the others by lot, as far as they fit."""
        names = self._world.names
        chosen: list[NodeId] = []
        for _ in range(3 * len(names)):
            if len(chosen) >= wanted:
                break
            node = names[int(self._world.dice.random() * len(names))]
            if node != self.node and node not in chosen and fits(node):
                chosen.append(node)
        return chosen


class MemberlistWorld(GossipWorld):
    """The nodes of the model on the links of the world."""

    def __init__(self, nodes: int, *, loss: float, slow: float, liars: int, seed: int) -> None:
        super().__init__(nodes, loss=loss, slow=slow, liars=liars, seed=seed)
        self.nodes = {name: MemberlistNode(one, self) for name, one in self.dwellers.items()}
        for name, one in self.nodes.items():
            if one.dweller.liar:
                start_ms = LIE_MS + self.dice.randrange(LIE_MS)
                self.at(start_ms, lambda name=name: self._lie(name))  # type: ignore[misc]
            else:
                one.start()

    def is_dead_to(self, node: NodeId, other: NodeId) -> bool:
        """See `GossipWorld`."""
        return self.nodes[node].others[other].state == _DEAD

    def not_alive(self) -> int:
        """Of how many pairs the one does not take the other for alive."""
        return sum(
            state.state != _ALIVE for one in self.nodes.values() for state in one.others.values()
        )

    def noticed(self, one: MemberlistNode, node: NodeId, state: int) -> None:
        """Somebody has another opinion of somebody."""
        loss = self.losses.get(node)
        if loss is None or state == _ALIVE:
            return
        loss.known_ms.setdefault(one.node, self.now_ms)
        if loss.suspected_ms is None:
            loss.suspected_ms = self.now_ms
        if state == _DEAD:
            loss.dead_ms.setdefault(one.node, self.now_ms)

    def packet(
        self,
        sender: MemberlistNode,
        to: NodeId,
        kind: str,
        seq: int,
        words: Sequence[Word],
        *,
        about: NodeId | None = None,
    ) -> None:
        """One UDP packet."""
        parts = [] if kind == "gossip" else [_size(kind)]
        parts += [_size(word.kind) for word in words]
        size_bytes = _CHECKSUM_BYTES + sum(parts)
        if len(parts) > 1:
            size_bytes += _COMPOUND_BYTES + _PART_BYTES * len(parts)
        self.count(1, size_bytes, kind)
        if self.is_lost():
            return

        def arrive() -> None:
            if self.dwellers[to].up:
                self.nodes[to].on_packet(sender.node, kind, seq, words, about)

        self.at(LINK_MS + self.lag_ms(to), arrive)

    def tcp_ping(
        self, sender: MemberlistNode, to: NodeId, due_ms: int, on_ack: Callable[[], None]
    ) -> None:
        """The fallback: counts only if its answer is there in time."""
        self.count(1, _size("ping"), "ping")
        if self.is_lost() or self.is_lost() or not self.dwellers[to].up:
            return
        self.count(1, _size("ack"), "ack")
        delay_ms = 4 * LINK_MS + self.lag_ms(to) + self.lag_ms(sender.node)
        delay_ms += _RTO_MS * (self.is_lost() + self.is_lost())
        if self.now_ms + delay_ms < due_ms:
            self.at(delay_ms, on_ack)

    def push_pull(self, one: MemberlistNode, other: NodeId) -> None:
        """Both tell all that they know."""
        state_bytes = _size("state") * len(self.names)
        self.count(1, state_bytes, "push-pull")
        peer = self.nodes[other]
        if not peer.dweller.up or peer.dweller.liar:
            return
        self.count(1, state_bytes, "push-pull")
        mine, theirs = one.states(), peer.states()

        def merge(node: MemberlistNode, words: list[Word]) -> None:
            if node.dweller.up:
                for word in words:
                    node.take(word)

        self.at(3 * LINK_MS + self.lag_ms(other), lambda: merge(peer, mine))
        self.at(4 * LINK_MS + self.lag_ms(one.node), lambda: merge(one, theirs))

    def _lie(self, liar: NodeId) -> None:
        """The same lie as in `DetectionWorld`, to three members a second."""
        victim = self.dice.choice(self.healthy())
        lie = Word("suspect", victim, self.nodes[victim].incarnation, liar)
        honest = [name for name in self.names if not self.dwellers[name].liar]
        for name in self.dice.sample(honest, min(3, len(honest))):
            self.at(LINK_MS + self.lag_ms(name), lambda name=name: self.nodes[name].take(lie))  # type: ignore[misc]
        self.at(LIE_MS, lambda: self._lie(liar))
