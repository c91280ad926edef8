"""The whole consensus core of one node: `handle(now_ms, event) -> list[Effect]`.

It joins the parts: the replica decides blocks, the ledger executes them, finality certifies what came of it, sync
fetches what was missed, the mempool holds what waits. A node without a seat runs the same engine as an observer: it
only fetches and executes. The daemon and the simulator drive this one object and nothing else of consensus.
"""

from __future__ import annotations

from functools import partial
from typing import assert_never

import msgspec

from consensus.block_rules import BlockRules
from consensus.blocks import Block
from consensus.certificates import Certificate, StateCertificate
from consensus.chain import ChainReader, genesis_writes
from consensus.execution import BlockExecution, UnknownProtocol
from consensus.faults import KNOWN, NOT_HERE, UNASKED, Fault, unsound
from consensus.genesis import Genesis
from consensus.intake import Intake, spread
from consensus.ledger.machine import Ledger
from consensus.mempool import Mempool
from consensus.messages import (
    MESSAGE_BYTES,
    AskVotes,
    Blocks,
    Body,
    Certified,
    CollectedStates,
    CollectedVotes,
    ConsensusMessage,
    FetchBlocks,
    FetchBody,
    Fetched,
    FetchTransactions,
    FetchViewChanges,
    NewestVotes,
    NewView,
    NewViewNames,
    Proposal,
    StateVote,
    Status,
    Suspect,
    Transactions,
    ViewChange,
    ViewChangeNames,
    Vote,
)
from consensus.operations.transactions import Transaction
from consensus.pbft.collected import vote_in
from consensus.pbft.collecting import COLLECT_TIMER
from consensus.pbft.finality import STATE_TIMER, STATES_TIMER, Finality
from consensus.pbft.gathering import FETCH_TIMER
from consensus.pbft.own_votes import OwnVotes, StateKeys, VotesAgain, VotingKeys, silenced_keys
from consensus.pbft.replica import Replica
from consensus.pbft.replica_base import PROGRESS_TIMER
from consensus.pbft.reports import Decided, Timing
from consensus.pbft.view_change import EpochBase
from consensus.pbft.vote_log import load_vote_log, read_body
from consensus.pool_log import PoolLog
from consensus.quorum import ValidatorSet
from consensus.relaying import RELAY_TIMER, Relay
from consensus.sync import (
    SYNC_TIMER,
    BlockSync,
    certified_block_fault,
    digest_at,
    stored_blocks,
    stored_tip,
    tip_of,
)
from gossip.codec import Digest, encode
from gossip.effects import (
    Broadcast,
    Cause,
    Effect,
    KeyValueReader,
    Notify,
    Send,
    SetTimer,
    Write,
)
from gossip.identity import NodeId, Signer, Verifier

BEAT_TIMER = "beat"
_IDLE_BEATS = 4
_FEW_PEERS = 8
_IDLE_HEARERS = 2
_RESENT_TRANSACTIONS = 500


class Started(msgspec.Struct, frozen=True, gc=False):
    """The node is up; timers may run."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A decoded message from an admitted peer, whose identity the transport has proven."""

    peer: NodeId
    message: ConsensusMessage


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """A timer set by an effect ran out."""

    name: str


class PeerConnected(msgspec.Struct, frozen=True, gc=False):
    """An admitted peer can be reached."""

    peer: NodeId


class PeerDisconnected(msgspec.Struct, frozen=True, gc=False):
    """A peer can't be reached any more."""

    peer: NodeId


class Submit(msgspec.Struct, frozen=True, gc=False):
    """Transactions of this node's own users, signatures checked."""

    transactions: tuple[Transaction, ...]


class Offer(msgspec.Struct, frozen=True, gc=False):
    """The same, taken into the mempool and no more: the next event of another kind proposes them.

    It writes to the pool alone, so it may be handled and told while what came before waits for the disk.
    """

    transactions: tuple[Transaction, ...]


class BoundSync(msgspec.Struct, frozen=True, gc=False):
    """Fetch no blocks while so many are lacking or more: a snapshot is the shorter way. None: always fetch."""

    most_behind: int | None


class Relaying(msgspec.Struct, frozen=True, gc=False):
    """Whether the members are too many for each to be connected with every other."""

    is_on: bool


EngineEvent = (
    Started
    | Received
    | TimerFired
    | PeerConnected
    | PeerDisconnected
    | Submit
    | Offer
    | BoundSync
    | Relaying
)


def initial_writes(genesis: Genesis, verifier: Verifier) -> tuple[Write, ...]:
    """The batch that begins a chain database."""
    ledger = Ledger(genesis, verifier)
    return (*genesis_writes(encode(genesis), ledger.validators), *ledger.initial_writes())


class Engine:
    """Consensus, ledger and mempool of one node. `chain` must begin with `initial_writes`."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        voting_key: Signer | VotingKeys,
        verifier: Verifier,
        chain: KeyValueReader,
        votes: KeyValueReader,
        pool: KeyValueReader,
        timing: Timing | None = None,
        asks_at_start: bool = False,
        rules: type[Ledger] = Ledger,
    ) -> None:
        """With `asks_at_start` a validator votes when enough others have said what they have seen of its key.

        `rules` is the ledger of this program: what it knows of the protocol's versions.
        """
        self._asks_at_start = asks_at_start
        self._chain_id: Digest = genesis.federation_id
        self._verifier = verifier
        self._timing = timing or Timing()
        self.chain = ChainReader(chain)
        self.ledger = rules.load(genesis, chain, verifier)
        self._is_outdated = self.ledger.is_outdated
        self.mempool = Mempool(self._chain_id)
        self._pool_log = PoolLog(pool)
        self._intake = Intake(self.mempool, self._pool_log, self.ledger, verifier)
        self._execution = BlockExecution(self.ledger, self.mempool, self._pool_log)
        self._sync = BlockSync()
        self._relay = Relay()
        self.keys = voting_key if isinstance(voting_key, VotingKeys) else VotingKeys(voting_key)
        self.keys.choose(self.ledger.validators)
        for key in silenced_keys(votes):
            self.keys.silence(key)
        self._own_votes = OwnVotes(self.keys, self._chain_id, verifier)
        self._finality = Finality(
            self._chain_id,
            StateKeys(self.keys),
            verifier,
            self.chain,
            self._timing.collect_ms,
        )
        self._peers: set[NodeId] = set()
        self._beats = 0
        self._last_told = NodeId(b"")
        self._now_ms = 0
        start = self.chain.epoch(self.ledger.validators.epoch)
        assert start is not None
        self.replica = Replica(
            chain=self._chain_id,
            signer=self.keys,
            verifier=verifier,
            members=start.members,
            base=EpochBase(
                start.base_height, digest_at(self.chain, self._chain_id, start.base_height)
            ),
            tip=stored_tip(self.chain, genesis),
            log=load_vote_log(votes),
            timing=self._timing,
            check_block=BlockRules(self._chain_id, self.ledger, self.mempool, verifier).fault,
            find=self.mempool.get,
            load_body=partial(read_body, votes),
            is_absent=self._is_absent,
        )

    # What it is asked

    @property
    def height(self) -> int:
        """The height of the last executed block."""
        return self.replica.tip.height

    @property
    def certified(self) -> int:
        """Up to this height every outcome is provable."""
        return self._finality.certified

    def has_certified_earlier_epochs(self, certified: int) -> bool:
        """Whether all that earlier sets decided is provable if everything up to this height is.

        Then a key that sat in those only is not needed any more.
        """
        start = self.chain.epoch(self.validators.epoch)
        return start is not None and certified >= start.base_height

    @property
    def validators(self) -> ValidatorSet:
        """The set that decides the next block."""
        return self.replica.members

    @property
    def known_height(self) -> int:
        """The greatest height that this node or a connected peer says it has."""
        return max(self.height, self._sync.target())

    @property
    def is_syncing(self) -> bool:
        """Whether a connected peer has blocks that this node lacks."""
        return self._sync.target() > self.height

    # What it is told

    def handle(self, now_ms: int, event: EngineEvent) -> list[Effect]:
        """Take one event; the effects are carried out in order."""
        self._now_ms = self.mempool.now_ms = now_ms
        out: list[Effect] = []
        if self._is_outdated:
            return [self._unknown_protocol()] if isinstance(event, Started) else []
        match event:
            case Received():
                self._settle(out, self._on_message(event.peer, event.message))
            case Started():
                out += [SetTimer(BEAT_TIMER, self._timing.status_ms), *self._finality.resume()]
                out += self._intake.restore()
                if self._asks_at_start:
                    out += self._own_votes.begin(self.validators)
                self._settle(out, self.replica.resend(now_ms))
            case TimerFired():
                self._settle(out, self._on_timer(event.name))
            case PeerConnected():
                self._peers.add(event.peer)
                self._settle(out, self.replica.on_reach(now_ms, event.peer))
                out.append(Send(event.peer, self._status()))
                out += self._own_votes.ask_again(self.validators)
            case PeerDisconnected():
                self._peers.discard(event.peer)
                self._relay.forget(event.peer)
                self._settle(out, self.replica.on_reach(now_ms, event.peer))
                self._settle(out, self._sync.on_disconnect(event.peer, self.height))
            case Submit():
                self._settle(out, self._submitted(event.transactions))
            case Offer():
                return self._submitted(event.transactions)
            case BoundSync():
                out += self._sync.bound(self.height, event.most_behind)
            case Relaying():
                self._relay.is_on = event.is_on
            case _:
                assert_never(event)
        self._go_on(out)
        self._finality.hand_over(out)
        return out

    def _submitted(self, transactions: tuple[Transaction, ...]) -> list[Effect]:
        ways = self._relay.ways(self._peers, self.validators.nodes)
        return self._intake.submit(transactions, ways)

    def _settle(self, out: list[Effect], effects: list[Effect]) -> None:
        """Move effects to `out`, then execute what was decided.

        In this order: executing makes the replica vote at the next height. Carried out before what is left of this one,
        those votes would be written over by older ones, and a restart would not be bound by them.
        """
        if not effects:
            return
        decided: list[Decided] | None = None
        for effect in effects:
            if type(effect) is Notify and type(effect.what) is Decided:
                decided = [effect.what] if decided is None else [*decided, effect.what]
            else:
                out.append(effect)
        for one in decided or ():
            self._settle(out, self._execute(one.block, one.certificate, None))

    def _go_on(self, out: list[Effect]) -> None:
        """After every event: propose if it is this node's turn, and let the leader's clock run while work waits."""
        if self._is_outdated:
            return
        replica, has_ready = self.replica, self.mempool.has_ready
        if replica.is_gathering:
            self._settle(out, replica.look(self._now_ms))
        is_ready = has_ready()
        while is_ready and replica.can_propose:
            limits = self.ledger.genesis.parameters
            chosen = self.mempool.select(limits.max_block_txs, limits.max_block_bytes)
            if not chosen:
                break
            self._settle(out, replica.propose(self._now_ms, chosen))
            is_ready = has_ready()
        if is_ready is not replica.is_waiting:
            self._settle(out, replica.set_waiting(self._now_ms, is_ready))

    def _on_message(self, peer: NodeId, message: ConsensusMessage) -> list[Effect]:
        match message:
            case Vote() if message.endorsement.voter == self.keys.present:
                known = self.replica.last_ballots
                warned = self._own_votes.on_live_vote(message, known)
                return warned or self.replica.on_message(self._now_ms, peer, message)
            case Vote() | Proposal():
                return self.replica.on_message(self._now_ms, peer, message)
            case StateVote() | Certified() | CollectedStates():
                return self._finality.on_message(peer, message)
            case Transactions():
                return self._intake.take(peer, message, self._ways_on(peer))
            case CollectedVotes():
                return self._on_collected(peer, message)
            case (
                Suspect()
                | ViewChange()
                | ViewChangeNames()
                | NewView()
                | NewViewNames()
                | FetchViewChanges()
                | FetchBody()
                | Body()
                | FetchTransactions()
                | Fetched()
            ):
                return self.replica.on_message(self._now_ms, peer, message)
            case Status():
                return self._on_status(peer, message)
            case FetchBlocks():
                return self._hand_over(peer, message.first)
            case Blocks():
                return self._on_blocks(peer, message)
            case AskVotes():
                votes, change = self.replica.seen_of(message.voting_key)
                return [Send(peer, NewestVotes(message.voting_key, votes, change))]
            case NewestVotes():
                return self._on_newest_votes(peer, message)
            case _:
                assert_never(message)

    def _on_collected(self, peer: NodeId, message: CollectedVotes) -> list[Effect]:
        """Votes by the own key may be among them that the log does not know of."""
        own = vote_in(message, self.keys.present, self.validators)
        known = self.replica.last_ballots
        warned = [] if own is None else self._own_votes.on_live_vote(own, known)
        return warned or self.replica.on_message(self._now_ms, peer, message)

    def _on_newest_votes(self, peer: NodeId, message: NewestVotes) -> list[Effect]:
        out = self._own_votes.on_answer(
            peer, message, self.validators, self.replica.last_ballots, self.replica.promise
        )
        if any(isinstance(one, Notify) and isinstance(one.what, VotesAgain) for one in out):
            self._own_votes.excuse(self.known_height)
            out += self.replica.resume(self._now_ms)
        return out

    # Execution

    def _execute(
        self, block: Block, certificate: Certificate, known: StateCertificate | None
    ) -> list[Effect]:
        """One atomic batch, then the STATE vote, then the next height."""
        voters = self.replica.members
        done = self._execution.execute(block, certificate, voters)
        out, members = done.effects, done.next_set
        gatherers = self.replica.gatherers(certificate.ballot)
        out += self._own_votes.on_decided(certificate, self.replica.last_ballots)
        out += self._finality.executed(done.statement, voters, known, gatherers)
        tip = tip_of(block, certificate)
        if members.epoch == voters.epoch:
            is_unfair = self.mempool.overtaken_ms > self._timing.progress_ms
            following = self.replica.advance(self._now_ms, tip, is_unfair=is_unfair)
        else:
            base = EpochBase(block.height, block.digest)
            self.keys.choose(members)
            following = self.replica.enter_epoch(self._now_ms, members, base, tip)
        if (
            self.ledger.is_outdated
        ):  # what follows may be votes on a block that can't be judged here
            self._is_outdated = True
            return [*out, self._unknown_protocol()]
        out += following
        if self._relay.is_on:
            out += self._relay.on_block(self.height, self._watching(), self._status)
        elif block.header.proposer in self._own_nodes(voters):
            out += self._announce()
        return out

    def _unknown_protocol(self) -> Effect:
        return Notify(UnknownProtocol(self.ledger.protocol_version, self.height))

    def _is_absent(self, node: bytes) -> bool:
        return node not in self._peers and node not in self._own_nodes(self.validators)

    def _own_nodes(self, members: ValidatorSet) -> tuple[bytes, ...]:
        seat = members.member(self.keys.present)
        return () if seat is None else (seat.node,)

    def _announce(self) -> list[Effect]:
        """Tell connected nodes without a seat that there is a new block to fetch."""
        watching = self._watching()
        return [Broadcast(watching, self._status())] if watching else []

    def _watching(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self._peers - set(self.validators.nodes)))

    # Transactions

    def _ways_on(self, source: NodeId) -> tuple[NodeId, ...]:
        """Where to pass on transactions that a peer spreads."""
        if self.replica.is_validator or not self._relay.is_on:
            return ()
        return self._relay.ways(self._peers, self.validators.nodes, source)

    def _resend_transactions(self) -> list[Effect]:
        """What still waits after a beat may not have reached the leader; if it waits too long, all must wait with it.

        What stands in the proposal under way has reached it.
        Otherwise one replica alone suspects a leader that is silent, and nobody joins it.
        """
        leader = NodeId(self.replica.leader.node)
        only_leader = self.replica.is_validator and not self.replica.is_impatient
        proposed = self.replica.proposed if only_leader else frozenset()
        ready = tuple(
            one
            for one in self.mempool.select(_RESENT_TRANSACTIONS + len(proposed), 2 * MESSAGE_BYTES)
            if one.id not in proposed
        )
        targets = (leader,) if only_leader else self.validators.nodes
        return [*spread(ready, self._relay.ways(self._peers, targets))] if ready else []

    # Catching up

    def _status(self) -> Status:
        return self.replica.status(self.certified)

    def _on_status(self, peer: NodeId, status: Status) -> list[Effect]:
        if status.certified > status.height:
            return [Fault(Cause.MALFORMED, "status: more is certified than executed").of(peer)]
        out: list[Effect] = []
        self._relay.note(peer, status.height)
        if status.height > self.height:
            out += self._sync.on_claim(peer, status.height, self.height)
        elif status.height < self.height:
            out.append(Send(peer, self._status()))
        else:
            out += self.replica.on_status(self._now_ms, peer, status)
        if status.certified < self.height:
            out += self._finality.answer(peer, status.certified)
        return out

    def _hand_over(self, peer: NodeId, first: int) -> list[Effect]:
        """Who asks for none that are here gets an answer all the same, so that it can ask another peer."""
        answer: list[Effect] = [Send(peer, stored_blocks(self.chain, first, self.height))]
        return answer if first <= self.height else [*answer, NOT_HERE.of(peer)]

    def _on_blocks(self, peer: NodeId, message: Blocks) -> list[Effect]:
        """Each block is checked against the set of its epoch, which executing the one before has made known."""
        out: list[Effect] = []
        before = self.height
        for item in message.blocks:
            if item.block.height <= self.height:
                continue
            fault = certified_block_fault(
                item, self.replica.tip, self.replica.members, self._chain_id, self._verifier
            )
            if fault:
                out.append(unsound(f"fetched block {item.block.height}: {fault}").of(peer))
                out += self._sync.on_failure(peer, self.height)
                return out
            self._settle(out, self._execute(item.block, item.certificate, item.state))
            if self._is_outdated:
                return out
        if self.height == before:
            out.append((KNOWN if message.blocks else UNASKED).of(peer))
            return [*out, *self._sync.on_failure(peer, self.height)]
        return [*out, *self._sync.on_answer(peer, self.height)]

    # Timers

    def _on_timer(self, name: str) -> list[Effect]:
        if name == PROGRESS_TIMER:
            return self.replica.on_progress_timeout(self._now_ms)
        if name == FETCH_TIMER:
            return self.replica.on_fetch_timeout(self._now_ms)
        if name == SYNC_TIMER:
            return self._sync.on_timeout(self.height)
        if name == STATE_TIMER:
            return self._finality.on_timer()
        if name == COLLECT_TIMER:
            return self.replica.on_collect_timeout(self._now_ms)
        if name == STATES_TIMER:
            return self._finality.on_collect_timeout()
        if name == RELAY_TIMER:
            return self._relay.on_timer(self.height, self._watching(), self._status)
        assert name == BEAT_TIMER
        return [*self._on_beat(), SetTimer(BEAT_TIMER, self._timing.status_ms)]

    def _on_beat(self) -> list[Effect]:
        """While anything is outstanding, say where this node stands; peers answer with what it lacks."""
        self._beats += 1
        busy = (
            self.keys.is_waiting
            or self.replica.is_busy
            or self.certified < self.height
            or self.mempool.has_ready()
        )
        if not busy and self._beats % _IDLE_BEATS:
            return []
        out = self.replica.resend(self._now_ms)
        out += self._own_votes.ask_again(self.validators)
        out += self._resend_transactions()
        hearers = tuple(sorted(self._peers))
        if busy:
            hearers = self.replica.hearers(hearers, self._beats)
        elif len(hearers) > _FEW_PEERS:
            hearers = self._next_told(hearers)
        if hearers:
            out.append(Broadcast(hearers, self._status()))
        return out

    def _next_told(self, peers: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
        """Of many, an idle node tells two, each in its turn: whoever is behind soon asks one who is not."""
        later = tuple(peer for peer in peers if peer > self._last_told)
        told = (later + peers)[:_IDLE_HEARERS]
        self._last_told = told[-1]
        return told

    def check_invariants(self) -> None:
        """What must hold after every event."""
        replica, ledger = self.replica, self.ledger
        replica.check_invariants()
        self._finality.check_invariants()
        assert ledger.height == replica.tip.height
        validators, members = ledger.validators, replica.members
        assert validators is members or validators == members
