"""What validators say to each other, and what a node that is behind asks for.

Every signed statement names its epoch and view; the chain is part of the signed bytes. A message is worth what its
signature is worth: who relayed it does not matter, so peers may resend each other's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from consensus.blocks import MAX_BLOCK_TXS, Block, Header, RawTransaction
from consensus.certificates import (
    Ballot,
    Certificate,
    Endorsement,
    StateCertificate,
    StateStatement,
)
from consensus.merkle import merkle_root
from consensus.quorum import MAX_VALIDATORS
from gossip.codec import Bytes32, Bytes64, Digest, Natural, Wire, digest, encode
from gossip.identity import signing_bytes

MAX_SYNC_BLOCKS = 64
MAX_GOSSIP_TRANSACTIONS = 2000
MESSAGE_BYTES = 1024 * 1024
"""What fits no frame is never sent, so nothing that grows is much above this."""
MAX_SHOWN_VOTES = 16
MOST_WHOLE_CHANGES = 16
"""A NEW-VIEW of more VIEW-CHANGEs is told by names, and written without repetitions."""
MAX_FETCHED_CHANGES = 16
"""So many VIEW-CHANGEs are asked for at once; one may have the signatures of two quorums."""

VoterBits = Annotated[bytes, msgspec.Meta(max_length=(MAX_VALIDATORS + 7) // 8)]
Signatures = Annotated[bytes, msgspec.Meta(max_length=64 * MAX_VALIDATORS)]


class Proposal(Wire, frozen=True, tag="proposal"):
    """PRE-PREPARE: the leader of (view, height) puts a block to the vote. No vote itself.

    It names the transactions by their ids; whoever lacks one fetches it.
    """

    epoch: Natural
    view: Natural
    header: Header
    transactions: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]
    signature: Bytes64

    @property
    def height(self) -> int:
        """The height of the block."""
        return self.header.height

    @property
    def digest(self) -> Digest:
        """The hash of the block."""
        return self.header.digest

    def signing_bytes(self, chain: Digest) -> bytes:
        """What the leader signs: the place and the digest, not the body."""
        return proposal_bytes(chain, self.epoch, self.view, self.height, self.digest)

    def malformed(self) -> str | None:
        """Why the ids are not those of the header, or None."""
        if len(set(self.transactions)) != len(self.transactions):
            return "a transaction stands twice in the block"
        if merkle_root(self.transactions) != self.header.tx_root:
            return "the transaction root does not match the transactions"
        return None


class Vote(Wire, frozen=True, tag="vote"):
    """PREPARE or COMMIT."""

    ballot: Ballot
    endorsement: Endorsement


class StateVote(Wire, frozen=True, tag="state_vote"):
    """STATE: what the voter's chain looks like after a block."""

    statement: StateStatement
    endorsement: Endorsement


class CollectedVotes(Wire, frozen=True, tag="collected_votes"):
    """A quorum's votes, as a collector hands them out: a bit for each voter, keys in order, and signatures."""

    ballot: Ballot
    voters: VoterBits
    signatures: Signatures


class CollectedStates(Wire, frozen=True, tag="collected_states"):
    """The same of STATE votes."""

    statement: StateStatement
    voters: VoterBits
    signatures: Signatures


class Certified(Wire, frozen=True, tag="certified"):
    """A STATE certificate, for somebody whose votes got lost."""

    certificate: StateCertificate


class Suspect(Wire, frozen=True, tag="suspect"):
    """The voter waits too long for the leader of `view`; it goes on voting until enough others suspect too."""

    epoch: Natural
    view: Natural
    voter: Bytes32
    signature: Bytes64

    def signing_bytes(self, chain: Digest) -> bytes:
        """What the voter signs."""
        return suspect_bytes(chain, self.epoch, self.view)


class PreparedProof(Wire, frozen=True):
    """A prepared block: the header and a quorum of PREPAREs. The body is fetched by digest."""

    header: Header
    certificate: Certificate


class ViewChange(Wire, frozen=True, tag="view_change"):
    """A promise to vote in no view below `view`, with all that the voter is bound to.

    `committed` certifies the highest block that the voter knows committed, None for the last block of the epoch before;
    `prepared` is the highest-view prepared block above it.
    """

    epoch: Natural
    view: Natural
    committed: Certificate | None
    prepared: PreparedProof | None
    voter: Bytes32
    signature: Bytes64

    def names(self) -> ViewChangeNames:
        """The same with hashes in the place of what it shows."""
        committed, prepared = (
            None if proof is None else proof_name(proof)
            for proof in (self.committed, self.prepared)
        )
        return ViewChangeNames(
            self.epoch, self.view, committed, prepared, self.voter, self.signature
        )

    @property
    def name(self) -> Digest:
        """The hash of all of it, by which a new view may name it. Costs as much as it is large."""
        return self.names().name

    def signing_bytes(self, chain: Digest) -> bytes:
        """What the voter signs."""
        return view_change_bytes(chain, self.epoch, self.view, self.committed, self.prepared)


class ViewChangeNames(Wire, frozen=True, tag="view_change_names"):
    """The same with hashes of what it shows, in a large set, where most show the same. Who lacks that fetches it whole.

    The signature is that of the whole.
    """

    epoch: Natural
    view: Natural
    committed: Bytes32 | None
    prepared: Bytes32 | None
    voter: Bytes32
    signature: Bytes64

    @property
    def name(self) -> Digest:
        """That of the whole."""
        return digest(b"view-change", encode(self))


class NewView(Wire, frozen=True, tag="new_view"):
    """A quorum of VIEW-CHANGEs: from them everybody computes by itself what must be proposed again."""

    epoch: Natural
    view: Natural
    view_changes: Annotated[
        tuple[ViewChange, ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)
    ]
    voter: Bytes32
    signature: Bytes64

    def names(self) -> NewViewNames:
        """The same with names in the place of VIEW-CHANGEs."""
        changes = tuple(one.name for one in self.view_changes)
        return NewViewNames(self.epoch, self.view, changes, self.voter, self.signature)

    def signing_bytes(self, chain: Digest) -> bytes:
        """What the new leader signs."""
        return new_view_bytes(chain, self.epoch, self.view, self.view_changes)


class NewViewNames(Wire, frozen=True, tag="new_view_names"):
    """The same with the names of the VIEW-CHANGEs, in a large set: who lacks some fetches them from the sender.

    The signature is that of the whole; what makes a liar of the sender is found out when all is there.
    """

    epoch: Natural
    view: Natural
    changes: Annotated[tuple[Bytes32, ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)]
    voter: Bytes32
    signature: Bytes64


class FetchViewChanges(Wire, frozen=True, tag="fetch_view_changes"):
    """Ask for some that a new view names. They come as they are, one message each."""

    names: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_FETCHED_CHANGES)]


class Status(Wire, frozen=True, tag="status"):
    """Where the sender stands. Whoever knows better answers with what it lacks; unsigned, worth an answer only."""

    epoch: Natural
    view: Natural
    entered: bool
    height: Natural
    has_proposal: bool
    is_prepared: bool
    certified: Natural


class FetchBody(Wire, frozen=True, tag="fetch_body"):
    """Ask for a block by digest, to propose or commit it."""

    digest: Bytes32


class Body(Wire, frozen=True, tag="body"):
    """The answer to `FetchBody`."""

    block: Block


class FetchTransactions(Wire, frozen=True, tag="fetch_transactions"):
    """Ask for transactions that a proposal names."""

    transactions: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]


class Fetched(Wire, frozen=True, tag="fetched"):
    """The answer to `FetchTransactions`, or a part of it."""

    raw: Annotated[tuple[RawTransaction, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]


class CertifiedBlock(Wire, frozen=True):
    """A committed block with the proof that it is one, and its STATE certificate where the sender has it."""

    block: Block
    certificate: Certificate
    state: StateCertificate | None


class FetchBlocks(Wire, frozen=True, tag="fetch_blocks"):
    """Ask for committed blocks from `first` on, as many as the answerer sees fit."""

    first: Natural


class Blocks(Wire, frozen=True, tag="blocks"):
    """Committed blocks in the order of their heights."""

    blocks: Annotated[tuple[CertifiedBlock, ...], msgspec.Meta(max_length=MAX_SYNC_BLOCKS)]


class StoredBlocks(Wire, frozen=True, tag="blocks"):
    """The same message, of bytes as they lie in the database: block, certificate and STATE certificate of each."""

    blocks: tuple[tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw], ...]


class Transactions(Wire, frozen=True, tag="transactions"):
    """Signed transactions on their way to the validators."""

    raw: Annotated[tuple[RawTransaction, ...], msgspec.Meta(max_length=MAX_GOSSIP_TRANSACTIONS)]


class AskVotes(Wire, frozen=True, tag="ask_votes"):
    """A validator that has just started asks for the newest votes under its own key."""

    voting_key: Bytes32


class NewestVotes(Wire, frozen=True, tag="newest_votes"):
    """The answer: what was seen of that key above the last block, empty if nothing was."""

    voting_key: Bytes32
    votes: Annotated[tuple[Vote, ...], msgspec.Meta(max_length=MAX_SHOWN_VOTES)]
    change: ViewChange | None


ConsensusMessage = (
    Proposal
    | Vote
    | StateVote
    | CollectedVotes
    | CollectedStates
    | Certified
    | Suspect
    | ViewChange
    | ViewChangeNames
    | NewView
    | NewViewNames
    | FetchViewChanges
    | Status
    | FetchBody
    | Body
    | FetchTransactions
    | Fetched
    | FetchBlocks
    | Blocks
    | Transactions
    | AskVotes
    | NewestVotes
)


def proof_name(proof: Certificate | PreparedProof) -> Digest:
    """The hash of what a VIEW-CHANGE shows."""
    return digest(b"proof", encode(proof))


def proposal_bytes(chain: Digest, epoch: int, view: int, height: int, digest: Digest) -> bytes:
    """The signed part of a proposal."""
    return signing_bytes("proposal", chain, epoch, view, height, digest)


def suspect_bytes(chain: Digest, epoch: int, view: int) -> bytes:
    """The signed part of a SUSPECT."""
    return signing_bytes("suspect", chain, epoch, view)


def view_change_bytes(
    chain: Digest,
    epoch: int,
    view: int,
    committed: Certificate | None,
    prepared: PreparedProof | None,
) -> bytes:
    """The signed part of a VIEW-CHANGE."""
    return signing_bytes("view-change", chain, epoch, view, committed, prepared)


def new_view_bytes(
    chain: Digest, epoch: int, view: int, view_changes: tuple[ViewChange, ...]
) -> bytes:
    """The signed part of a NEW-VIEW."""
    return signing_bytes("new-view", chain, epoch, view, view_changes)


def batched(raw: Iterable[bytes]) -> list[tuple[bytes, ...]]:
    """As few batches as hold them, none much above `MESSAGE_BYTES`."""
    batches: list[tuple[bytes, ...]] = []
    batch: list[bytes] = []
    size = 0
    for one in raw:
        if batch and (size + len(one) > MESSAGE_BYTES or len(batch) == MAX_GOSSIP_TRANSACTIONS):
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(one)
        size += len(one)
    if batch:
        batches.append(tuple(batch))
    return batches
