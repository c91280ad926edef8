"""A helper that serves false snapshots: other states, proofs of something else, manifests and chunks that lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from consensus.certificates import StateCertificate, StateStatement, endorse
from consensus.chain import ChainReader, Execution
from consensus.ledger.records import Account
from consensus.ledger.state import STATE_PREFIX
from consensus.ledger.state_tree import StateTree
from consensus.ledger.tables import ACCOUNTS
from consensus.messages import CertifiedBlock
from consensus.quorum import Validator, ValidatorSet
from consensus.receipts import EpochLink
from consensus.snapshot import SnapshotProof, state_pages
from gossip.codec import Digest, Wire, decode, digest, encode
from gossip.effects import Broadcast
from gossip.identity import NodeId
from gossip.transfer.manifest import Manifest
from gossip.transfer.messages import Answer, Chunk, GetManifest, ManifestIs, Request
from simulations.liars.habits import Liar, Twisted
from simulations.snapshot_node import ContentIs, Contents, SnapshotIs, SnapshotNode

_GIFT = 1_000_000


@dataclass(slots=True)
class SnapshotLiar(Liar):
    """Votes as a sound node does, and hands nobody a true snapshot."""

    kind = "snapshot_liar"
    _false: Contents = field(default_factory=Contents)

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case SnapshotIs() if message.proof:
                sincere = decode(message.proof, SnapshotProof)
                lies = (
                    self._own_word,
                    self._other_content,
                    self._others_signatures,
                    self._other_height,
                    self._other_outcomes,
                    self._usurped,
                    self._sincere,
                )
                lie = lies[self.luck(len(lies), "false snapshot", message, to)]
                return [Broadcast(to, SnapshotIs(encode(lie(sincere))))]
            case ContentIs():
                return self._serve(to, message)
            case _:
                return [Broadcast(to, message)]

    # Proofs

    def _own_word(self, sincere: SnapshotProof) -> SnapshotProof:
        """A false state that nobody but itself has signed."""
        statement, name = self._false_state(sincere)
        return _claimed(sincere, name, statement, self._signed(statement))

    def _others_signatures(self, sincere: SnapshotProof) -> SnapshotProof:
        """A false state under the signatures that were given for the true one."""
        statement, name = self._false_state(sincere)
        known = sincere.block.state
        assert known is not None
        certificate = msgspec.structs.replace(known, statement=statement)
        return _claimed(sincere, name, statement, certificate)

    def _other_content(self, sincere: SnapshotProof) -> SnapshotProof:
        """A true proof that names a false state."""
        return msgspec.structs.replace(sincere, state=self._false_state(sincere)[1])

    def _other_height(self, sincere: SnapshotProof) -> SnapshotProof:
        """The certificate of the block before, and what that came to."""
        chain = ChainReader(self._node.disk)
        execution = chain.execution(sincere.height - 1)
        certificate = chain.state_certificate(sincere.height - 1)
        if execution is None or certificate is None:
            return self._own_word(sincere)
        proof = _claimed(sincere, sincere.state, execution.statement, certificate)
        return msgspec.structs.replace(proof, execution=execution)

    def _other_outcomes(self, sincere: SnapshotProof) -> SnapshotProof:
        """The true state, and outcomes that nobody certified."""
        results = sincere.execution.results
        false = msgspec.structs.replace(results, writes_digest=digest(b"lie", results.root))
        execution = msgspec.structs.replace(sincere.execution, results=false)
        return msgspec.structs.replace(sincere, execution=execution)

    def _usurped(self, sincere: SnapshotProof) -> SnapshotProof:
        """A false state certified by an epoch whose only validator is itself."""
        statement, name = self._false_state(sincere)
        node = self._node.validators.member(self.signer.public)
        seat = Validator(node.node if node else self.signer.public, self.signer.public, 1)
        alone = ValidatorSet(statement.epoch + 1, (seat,))
        handing = msgspec.structs.replace(statement, next_set_hash=alone.hash)
        link = EpochLink(self._signed(handing), alone)
        later = msgspec.structs.replace(statement, epoch=alone.epoch, next_set_hash=alone.hash)
        proof = _claimed(sincere, name, later, self._signed(later))
        return msgspec.structs.replace(proof, epochs=(*sincere.epochs, link))

    @staticmethod
    def _sincere(sincere: SnapshotProof) -> SnapshotProof:
        """The truth; the lies come with the content."""
        return sincere

    def _signed(self, statement: StateStatement) -> StateCertificate:
        return StateCertificate(statement, (endorse(self.signer, self.chain, statement),))

    def _false_state(self, sincere: SnapshotProof) -> tuple[StateStatement, Digest]:
        """The state with more money for itself, or without the nonces that its clients have used; with its name."""
        cut = len(STATE_PREFIX)
        pairs = {key[cut:]: value for key, value in self._node.disk.scan(STATE_PREFIX)}
        gift: Callable[[Account], Account] = (_forgetful, _richer)[
            self.luck(2, "false state", sincere.execution)
        ]
        for key, value in pairs.items():
            if key.startswith(ACCOUNTS.prefix):
                pairs[key] = encode(gift(decode(value, Account)))
        name = self._false.add(state_pages(sorted(pairs.items())))
        root = StateTree().update(pairs).root
        return msgspec.structs.replace(sincere.execution.statement, state_root=root), name

    # Contents

    def _serve(self, to: tuple[NodeId, ...], message: ContentIs) -> Twisted:
        """Its own false states as they are, since they refute themselves; others' with a lie."""
        request: Request = decode(message.request, Request)  # type: ignore[arg-type]
        answer = self._false.answer(request)
        if not isinstance(answer, ManifestIs | Chunk):
            answer = self._doctored(request, message)
        return [Broadcast(to, ContentIs(message.request, encode(answer)))]

    def _doctored(self, request: Request, message: ContentIs) -> Answer:
        sincere: Answer = decode(message.answer, Answer)  # type: ignore[arg-type]
        if self.luck(4, "spared", message) == 0:
            return sincere
        if isinstance(request, GetManifest):
            return ManifestIs(Manifest(3, (digest(b"lie", request.content),)))
        data = sincere.data if isinstance(sincere, Chunk) else request.chunk
        return Chunk(False, data[:-1] + bytes([data[-1] ^ 1]))  # noqa: FBT003 - by position on the wire

    @property
    def _node(self) -> SnapshotNode:
        assert isinstance(self.engine, SnapshotNode)
        return self.engine


def _claimed(
    sincere: SnapshotProof,
    name: Digest | bytes,
    statement: StateStatement,
    certificate: StateCertificate,
) -> SnapshotProof:
    """The proof with another statement, content and certificate."""
    block = CertifiedBlock(sincere.block.block, sincere.block.certificate, certificate)
    execution = Execution(statement, sincere.execution.results)
    return msgspec.structs.replace(sincere, state=name, block=block, execution=execution)


def _richer(account: Account) -> Account:
    return Account(account.balance + _GIFT, account.nonce)


def _forgetful(account: Account) -> Account:
    return Account(account.balance, 0)
