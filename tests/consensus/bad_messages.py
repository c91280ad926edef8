"""Messages that must be refused, of every kind: how each is made for an engine, and the cause that is counted.

Each is otherwise as good as can be: what is stale, say, is signed by whom it names, in the right epoch and chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from consensus.blocks import Block, Header, make_block
from consensus.certificates import (
    Ballot,
    Certificate,
    Endorsement,
    Phase,
    StateCertificate,
    StateStatement,
    endorse,
)
from consensus.engine import Engine
from consensus.messages import (
    Blocks,
    Body,
    Certified,
    CertifiedBlock,
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
    new_view_bytes,
    proposal_bytes,
    suspect_bytes,
    view_change_bytes,
)
from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from consensus.pbft.collected import collected_states, collected_votes
from gossip.codec import Digest
from gossip.effects import Cause
from gossip.identity import Signature, Signer
from tests.consensus.story import Story

NOBODY = 99
"""Its voting key has no seat."""
_FAR = 9
_CHAIN, _NOTHING = Digest(b"\x55" * 32), bytes(32)
_FALSE = Signature(bytes(64))


@dataclass(frozen=True, slots=True)
class Scene:
    """A story with the engine that is about to be sent something bad, and where that is said to be about."""

    story: Story
    victim: int
    source: int
    epoch: int
    view: int
    height: int
    chain: Digest
    voter: int
    is_forged: bool = False

    @property
    def engine(self) -> Engine:
        engine = self.story.actors[self.victim].engine
        assert engine is not None
        return engine

    def key(self, number: int) -> Signer:
        return self.story.keys.signer(b"voting", number)

    def number_of(self, key: bytes) -> int:
        return next(at for at in range(len(self.story.actors)) if self.key(at).public == key)

    def signed(self, statement: Ballot | StateStatement, voter: int) -> Endorsement:
        made = endorse(self.key(voter), self.chain, statement)
        return Endorsement(made.voter, _FALSE) if self.is_forged else made

    def sign(self, message: bytes, voter: int) -> Signature:
        return _FALSE if self.is_forged else self.key(voter).sign(message)

    def all_sign(self, statement: Ballot | StateStatement) -> tuple[Endorsement, ...]:
        """All but the victim, in the order of certificates."""
        made = (self.signed(statement, voter) for voter in self.others())
        return tuple(sorted(made, key=lambda one: one.voter))

    def others(self) -> tuple[int, ...]:
        """Who has a seat besides the victim: a quorum."""
        seats = self.engine.validators.validators
        numbers = tuple(self.number_of(one.voting_key) for one in seats)
        return tuple(one for one in numbers if one != self.victim)


def scene_of(story: Story, victim: int, source: int) -> Scene:
    """The place that the victim is at; the source's votes are in place there."""
    engine = story.actors[victim].engine
    assert engine is not None
    place = engine.validators.epoch, engine.replica.view, engine.height + 1
    return Scene(story, victim, source, *place, story.genesis.federation_id, source)


# What is sent, for the place of the scene


def ballot(scene: Scene, phase: Phase = Phase.PREPARE, digest: bytes = b"\x01" * 32) -> Ballot:
    return Ballot(phase, scene.epoch, scene.view, scene.height, digest)


def vote(scene: Scene) -> Vote:
    made = ballot(scene)
    return Vote(made, scene.signed(made, scene.voter))


def statement(scene: Scene) -> StateStatement:
    return StateStatement(scene.epoch, scene.height, *(bytes([at]) * 32 for at in range(4)))


def state_vote(scene: Scene) -> StateVote:
    made = statement(scene)
    return StateVote(made, scene.signed(made, scene.voter))


def certificate(scene: Scene) -> Certificate:
    made = ballot(scene, Phase.COMMIT)
    return Certificate(made, scene.all_sign(made))


def state_certificate(scene: Scene) -> StateCertificate:
    made = statement(scene)
    return StateCertificate(made, scene.all_sign(made))


def collected(scene: Scene) -> CollectedVotes:
    return collected_votes(certificate(scene), scene.engine.validators)


def collected_state(scene: Scene) -> CollectedStates:
    return collected_states(state_certificate(scene), scene.engine.validators)


def certified(scene: Scene) -> Certified:
    return Certified(state_certificate(scene))


def block(scene: Scene, chain: Digest | None = None) -> Block:
    members, tip = scene.engine.validators, scene.engine.replica.tip
    return make_block(
        chain=chain or scene.chain,
        height=scene.height,
        epoch=scene.epoch,
        prev_hash=tip.digest,
        proposer=members.leader(scene.view, scene.height).node,
        timestamp_ms=max(scene.story.now_ms, tip.timestamp_ms + 1),
        transactions=(),
    )


def propose(scene: Scene, header: Header) -> Proposal:
    leader = scene.number_of(scene.engine.validators.leader(scene.view, scene.height).voting_key)
    voter = leader if scene.voter == scene.source else scene.voter
    signed = proposal_bytes(scene.chain, scene.epoch, scene.view, scene.height, header.digest)
    return Proposal(scene.epoch, scene.view, header, (), scene.sign(signed, voter))


def proposal(scene: Scene) -> Proposal:
    return propose(scene, block(scene).header)


def suspect(scene: Scene) -> Suspect:
    signed = suspect_bytes(scene.chain, scene.epoch, scene.view)
    return Suspect(
        scene.epoch, scene.view, scene.key(scene.voter).public, scene.sign(signed, scene.voter)
    )


def view_change(scene: Scene, voter: int | None = None) -> ViewChange:
    number = scene.voter if voter is None else voter
    shown = scene.engine.replica.tip.certificate
    if shown is not None and shown.ballot.epoch != scene.engine.validators.epoch:
        shown = None
    signed = view_change_bytes(scene.chain, scene.epoch, scene.view, shown, None)
    return ViewChange(
        scene.epoch, scene.view, shown, None, scene.key(number).public, scene.sign(signed, number)
    )


def new_view(scene: Scene) -> NewView:
    honest = replace(scene, is_forged=False, chain=scene.story.genesis.federation_id)
    changes = tuple(
        sorted(
            (view_change(honest, voter) for voter in scene.others()),
            key=lambda one: one.voter,
        )
    )
    leader = scene.engine.validators.leader(scene.view, scene.engine.height + 1)
    voter = scene.number_of(leader.voting_key) if scene.voter == scene.source else scene.voter
    signed = new_view_bytes(scene.chain, scene.epoch, scene.view, changes)
    return NewView(
        scene.epoch, scene.view, changes, scene.key(voter).public, scene.sign(signed, voter)
    )


def pay(scene: Scene, nonce: int, expiry: int = 1000, chain: Digest | None = None) -> Transaction:
    user = scene.story.keys.signer(b"identity", scene.source)
    to = Transfer(scene.story.actors[0].node_id, 1)
    body = TransactionBody(chain or scene.chain, user.public, nonce, expiry, (to,))
    return sign_transaction(user, body)


def next_nonce(scene: Scene) -> int:
    account = scene.engine.ledger.account(scene.story.actors[scene.source].node_id)
    assert account is not None
    return account.nonce


def transactions(*some: Transaction) -> Transactions:
    return Transactions(tuple(one.raw for one in some))


def forged_payment(scene: Scene) -> Transactions:
    whole = pay(scene, next_nonce(scene) + 1).raw
    return Transactions((whole[:-1] + bytes([whole[-1] ^ 1]),))


def stored(scene: Scene) -> CertifiedBlock:
    found = scene.engine.chain.certified_block(scene.engine.height)
    assert found is not None
    return found


def next_stored(scene: Scene) -> CertifiedBlock:
    """A block that would follow, if anybody had voted for it."""
    made = block(scene)
    cast = ballot(scene, Phase.COMMIT, made.digest)
    return CertifiedBlock(made, Certificate(cast, scene.all_sign(cast)), None)


# How it is bad

Make = Callable[[Scene], tuple[ConsensusMessage, ...]]
"""What is sent, one after the other; the last of them must be refused."""


@dataclass(frozen=True, slots=True)
class Bad:
    """One row of the table."""

    kind: type
    how: str
    make: Make
    cause: Cause

    @property
    def name(self) -> str:
        return f"{self.kind.__name__}-{self.how}"


def _each(
    kind: type,
    make: Callable[[Scene], ConsensusMessage],
    *hows: tuple[str, Callable[[Scene], Scene], Cause],
) -> list[Bad]:
    return [
        Bad(kind, how, lambda scene, at=at: (make(at(scene)),), cause)  # type: ignore[misc]
        for how, at, cause in hows
    ]


def _over(scene: Scene) -> Scene:
    return replace(scene, height=scene.height - 1)


def _far(scene: Scene) -> Scene:
    return replace(scene, height=scene.height + _FAR)


def _other_epoch(scene: Scene) -> Scene:
    return replace(scene, epoch=scene.epoch + 7)


def _other_chain(scene: Scene) -> Scene:
    return replace(scene, chain=_CHAIN)


def _forged(scene: Scene) -> Scene:
    return replace(scene, is_forged=True)


def _outside(scene: Scene) -> Scene:
    return replace(scene, voter=NOBODY)


def _next_view(scene: Scene) -> Scene:
    """A view that nobody has asked for yet."""
    return replace(scene, view=scene.view + 1)


def _view_before(scene: Scene) -> Scene:
    return replace(scene, view=scene.view - 1)


_OF_HEIGHTS = (
    ("stale", _over, Cause.STALE),
    ("far ahead", _far, Cause.EARLY),
    ("of another epoch", _other_epoch, Cause.WRONG_EPOCH),
)


def _of_next_view(change: Callable[[Scene], Scene]) -> Callable[[Scene], Scene]:
    return lambda scene: change(_next_view(scene))


_OF_VIEWS = (
    ("of another epoch", _of_next_view(_other_epoch), Cause.WRONG_EPOCH),
    ("forged", _of_next_view(_forged), Cause.SIGNATURE),
    ("of another chain", _of_next_view(_other_chain), Cause.SIGNATURE),
)


def _twice(make: Callable[[Scene], ConsensusMessage]) -> Make:
    return lambda scene: (make(scene), make(scene))


def _unmatched(message: CollectedVotes | CollectedStates) -> ConsensusMessage:
    return msgspec.structs.replace(message, signatures=message.signatures[:-1])


BAD: tuple[Bad, ...] = (
    *_each(
        Proposal,
        proposal,
        *_OF_HEIGHTS,
        ("by another than the leader", _outside, Cause.SIGNATURE),
        ("forged", _forged, Cause.SIGNATURE),
        ("signed for another chain", _other_chain, Cause.SIGNATURE),
    ),
    Bad(
        Proposal,
        "of a block of another chain",
        lambda scene: (propose(scene, block(scene, _CHAIN).header),),
        Cause.WRONG_CHAIN,
    ),
    Bad(
        Proposal,
        "whose transactions are not those of its header",
        lambda scene: (msgspec.structs.replace(proposal(scene), transactions=(b"\x07" * 32,)),),
        Cause.UNSOUND,
    ),
    Bad(
        Proposal,
        "replayed ahead of its time",
        _twice(lambda scene: proposal(replace(scene, height=scene.height + 1))),
        Cause.KNOWN,
    ),
    *_each(
        Vote,
        vote,
        *_OF_HEIGHTS,
        ("by nobody with a seat", _outside, Cause.NOT_ENTITLED),
        ("forged", _forged, Cause.SIGNATURE),
        ("of another chain", _other_chain, Cause.SIGNATURE),
    ),
    Bad(Vote, "replayed", _twice(vote), Cause.KNOWN),
    Bad(
        Vote,
        "against an earlier one",
        lambda scene: (
            vote(scene),
            Vote(made := ballot(scene, digest=b"\x02" * 32), scene.signed(made, scene.voter)),
        ),
        Cause.CONTRADICTION,
    ),
    Bad(
        Vote,
        "too many ahead of their time",
        lambda scene: tuple(
            Vote(made, scene.signed(made, scene.voter))
            for made in (
                ballot(replace(scene, height=scene.height + 1), digest=bytes([at]) * 32)
                for at in range(5)
            )
        ),
        Cause.EARLY,
    ),
    *_each(StateVote, state_vote, *_OF_HEIGHTS[:2]),
    Bad(
        StateVote,
        "replayed ahead of its time",
        _twice(state_vote),
        Cause.KNOWN,
    ),
    *_each(CollectedVotes, collected, *_OF_HEIGHTS),
    *_each(
        CollectedVotes,
        collected,
        ("forged", _forged, Cause.UNSOUND),
        ("of another chain", _other_chain, Cause.UNSOUND),
    ),
    Bad(
        CollectedVotes,
        "with voters and signatures that do not match",
        lambda scene: (_unmatched(collected(scene)),),
        Cause.MALFORMED,
    ),
    Bad(
        CollectedVotes,
        "that do not hold, twice",
        _twice(lambda scene: collected(_forged(scene))),
        Cause.TOO_OFTEN,
    ),
    *_each(CollectedStates, collected_state, *_OF_HEIGHTS[:2]),
    Bad(
        CollectedStates,
        "replayed ahead of their time",
        _twice(collected_state),
        Cause.KNOWN,
    ),
    *_each(Certified, certified, *_OF_HEIGHTS[:2]),
    *_each(Suspect, suspect, *_OF_VIEWS, ("by nobody with a seat", _outside, Cause.NOT_ENTITLED)),
    Bad(Suspect, "replayed", _twice(lambda scene: suspect(_next_view(scene))), Cause.KNOWN),
    *_each(
        ViewChange,
        view_change,
        *_OF_VIEWS,
        ("by nobody with a seat", _of_next_view(_outside), Cause.NOT_ENTITLED),
    ),
    Bad(ViewChange, "replayed", _twice(lambda scene: view_change(_next_view(scene))), Cause.KNOWN),
    *_each(
        ViewChangeNames,
        lambda scene: view_change(scene).names(),
        ("of another epoch", _of_next_view(_other_epoch), Cause.WRONG_EPOCH),
        ("forged", _of_next_view(_forged), Cause.SIGNATURE),
    ),
    *_each(
        NewView,
        new_view,
        *_OF_VIEWS,
        ("by another than its leader", _of_next_view(_outside), Cause.NOT_ENTITLED),
    ),
    Bad(
        NewView,
        "that two of one voter are in",
        lambda scene: (
            msgspec.structs.replace(
                made := new_view(_next_view(scene)),
                view_changes=(made.view_changes[0], *made.view_changes[:2]),
            ),
        ),
        Cause.UNSOUND,
    ),
    Bad(
        NewView,
        "without a quorum",
        lambda scene: (
            msgspec.structs.replace(
                made := new_view(_next_view(scene)), view_changes=made.view_changes[:1]
            ),
        ),
        Cause.UNSOUND,
    ),
    *_each(
        NewViewNames,
        lambda scene: new_view(scene).names(),
        ("of another epoch", _of_next_view(_other_epoch), Cause.WRONG_EPOCH),
    ),
    Bad(
        NewViewNames,
        "that names one twice",
        lambda scene: (
            msgspec.structs.replace(
                new_view(_next_view(scene)).names(), changes=(_NOTHING, _NOTHING)
            ),
        ),
        Cause.UNSOUND,
    ),
    Bad(
        NewViewNames,
        "replayed",
        _twice(
            lambda scene: msgspec.structs.replace(
                new_view(_next_view(scene)).names(), changes=(_NOTHING,)
            )
        ),
        Cause.KNOWN,
    ),
    Bad(
        FetchViewChanges,
        "for what nobody signed",
        lambda _: (FetchViewChanges((_NOTHING,)),),
        Cause.NOT_HERE,
    ),
    Bad(
        Status,
        "that certifies more than it has",
        lambda scene: (Status(scene.epoch, 0, True, 3, False, False, 4),),
        Cause.MALFORMED,
    ),
    Bad(
        Status,
        "of another epoch at the same height",
        lambda scene: (Status(scene.epoch + 1, 0, True, scene.engine.height, False, False, 0),),
        Cause.WRONG_EPOCH,
    ),
    Bad(FetchBody, "of no block", lambda _: (FetchBody(_NOTHING),), Cause.NOT_HERE),
    Bad(Body, "that nobody asked for", lambda scene: (Body(block(scene)),), Cause.UNASKED),
    Bad(
        FetchTransactions,
        "of unknown ids",
        lambda _: (FetchTransactions((_NOTHING,)),),
        Cause.NOT_HERE,
    ),
    Bad(
        Fetched,
        "that nobody asked for",
        lambda scene: (Fetched((pay(scene, 0).raw,)),),
        Cause.UNASKED,
    ),
    Bad(
        FetchBlocks,
        "of heights to come",
        lambda scene: (FetchBlocks(scene.height + _FAR),),
        Cause.NOT_HERE,
    ),
    Bad(Blocks, "of none", lambda _: (Blocks(()),), Cause.UNASKED),
    Bad(Blocks, "replayed", lambda scene: (Blocks((stored(scene),)),), Cause.KNOWN),
    Bad(
        Blocks,
        "far ahead",
        lambda scene: (Blocks((next_stored(_far(scene)),)),),
        Cause.UNSOUND,
    ),
    Bad(
        Blocks,
        "under a forged certificate",
        lambda scene: (Blocks((next_stored(_forged(scene)),)),),
        Cause.UNSOUND,
    ),
    Bad(
        Blocks,
        "of another epoch",
        lambda scene: (Blocks((next_stored(_other_epoch(scene)),)),),
        Cause.UNSOUND,
    ),
    Bad(
        Blocks,
        "of another chain",
        lambda scene: (Blocks((next_stored(_other_chain(scene)),)),),
        Cause.UNSOUND,
    ),
    Bad(Transactions, "of none", lambda _: (Transactions(()),), Cause.KNOWN),
    Bad(
        Transactions,
        "that do not decode",
        lambda _: (Transactions((b"\xc1",)),),
        Cause.MALFORMED,
    ),
    Bad(Transactions, "forged", lambda scene: (forged_payment(scene),), Cause.SIGNATURE),
    Bad(
        Transactions,
        "replayed",
        _twice(lambda scene: transactions(pay(scene, next_nonce(scene) + 1))),
        Cause.KNOWN,
    ),
    Bad(
        Transactions,
        "of another chain",
        lambda scene: (transactions(pay(scene, next_nonce(scene), chain=_CHAIN)),),
        Cause.WRONG_CHAIN,
    ),
    Bad(
        Transactions,
        "that have expired",
        lambda scene: (transactions(pay(scene, next_nonce(scene), expiry=1)),),
        Cause.STALE,
    ),
    Bad(
        Transactions,
        "with a nonce that was used",
        lambda scene: (transactions(pay(scene, 0)),),
        Cause.STALE,
    ),
    Bad(
        Transactions,
        "with a nonce far ahead",
        lambda scene: (transactions(pay(scene, 10**6)),),
        Cause.EARLY,
    ),
    Bad(
        NewestVotes,
        "of a key that is not this node's",
        lambda scene: (NewestVotes(scene.key(scene.source).public, (), None),),
        Cause.UNASKED,
    ),
    Bad(
        NewestVotes,
        "that nobody asked for",
        lambda scene: (NewestVotes(scene.key(scene.victim).public, (), None),),
        Cause.UNASKED,
    ),
)

BAD_OUTCOMES: tuple[Bad, ...] = (
    *_each(
        StateVote,
        state_vote,
        ("of another epoch", _other_epoch, Cause.WRONG_EPOCH),
        ("by nobody with a seat", _outside, Cause.NOT_ENTITLED),
        ("forged", _forged, Cause.SIGNATURE),
        ("of another chain", _other_chain, Cause.SIGNATURE),
    ),
    Bad(StateVote, "replayed", _twice(state_vote), Cause.KNOWN),
    *_each(
        CollectedStates,
        collected_state,
        ("of another epoch", _other_epoch, Cause.WRONG_EPOCH),
        ("forged", _forged, Cause.UNSOUND),
        ("of another chain", _other_chain, Cause.UNSOUND),
    ),
    Bad(
        CollectedStates,
        "with voters and signatures that do not match",
        lambda scene: (_unmatched(collected_state(scene)),),
        Cause.MALFORMED,
    ),
    Bad(
        CollectedStates,
        "that do not hold, twice",
        _twice(lambda scene: collected_state(_forged(scene))),
        Cause.TOO_OFTEN,
    ),
    *_each(
        Certified,
        certified,
        ("of another epoch", _other_epoch, Cause.UNSOUND),
        ("forged", _forged, Cause.UNSOUND),
        ("of another chain", _other_chain, Cause.UNSOUND),
    ),
)
"""About a height that is executed and has no certificate."""

BAD_PARTS: tuple[Bad, ...] = (
    Bad(Fetched, "that do not decode", lambda _: (Fetched((b"\xc1",)),), Cause.MALFORMED),
    Bad(
        Fetched,
        "that are not those asked for",
        lambda scene: (Fetched((pay(scene, 0).raw,)),),
        Cause.UNASKED,
    ),
    Bad(
        Body,
        "of another block than the one at hand",
        lambda scene: (Body(block(scene)),),
        Cause.UNASKED,
    ),
)
"""To an engine that lacks a part of the proposal."""

BAD_FROM_OUTSIDE: tuple[Bad, ...] = (
    Bad(
        FetchTransactions,
        "from outside",
        lambda _: (FetchTransactions((_NOTHING,)),),
        Cause.NOT_ENTITLED,
    ),
    Bad(
        FetchViewChanges,
        "from outside",
        lambda _: (FetchViewChanges((_NOTHING,)),),
        Cause.NOT_ENTITLED,
    ),
    *_each(
        ViewChangeNames,
        lambda scene: view_change(scene, 1).names(),
        ("from outside", _next_view, Cause.NOT_ENTITLED),
    ),
    *_each(
        NewViewNames,
        lambda scene: new_view(scene).names(),
        ("from outside", _next_view, Cause.NOT_ENTITLED),
    ),
    *_each(CollectedVotes, collected, ("from outside", lambda scene: scene, Cause.NOT_ENTITLED)),
)
"""From a peer without a seat."""


def _begun(scene: Scene) -> ConsensusMessage:
    """The NEW-VIEW that the victim is in."""
    found = scene.engine.replica.promise.entered
    assert found is not None
    return found


_OVER = ("of a view that is over", _view_before, Cause.STALE)

BAD_VIEWS: tuple[Bad, ...] = (
    *_each(Suspect, suspect, _OVER),
    *_each(ViewChange, view_change, _OVER),
    *_each(ViewChangeNames, lambda scene: view_change(scene).names(), _OVER),
    *_each(NewView, new_view, _OVER),
    *_each(NewViewNames, lambda scene: new_view(scene).names(), _OVER),
    *_each(Vote, vote, _OVER),
    *_each(Proposal, proposal, _OVER),
    Bad(NewView, "replayed", lambda scene: (_begun(scene),), Cause.KNOWN),
)
"""To an engine in its second view."""
