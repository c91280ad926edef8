"""What must hold, judged from outside after every event; only honest nodes are held to it."""

from __future__ import annotations

from consensus.blocks import Block
from consensus.certificates import PREPARE, Certificate, StateCertificate, certificate_fault
from consensus.chain import ChainReader
from consensus.engine import Engine
from consensus.ledger.machine import BlockResult
from consensus.ledger.outcomes import Code, Outcome
from consensus.ledger.state import STATE_PREFIX
from consensus.ledger.state_tree import StateTree
from consensus.messages import ViewChange, ViewChangeNames, Vote
from consensus.pbft.vote_log import BALLOTS_KEY, BODY_PREFIX, VIEW_KEY, BallotRecord, read_view
from consensus.quorum import ValidatorSet
from gossip.codec import Digest, decode
from gossip.effects import KeyValueReader
from gossip.identity import Verifier
from simulations.violations import ViolationError
from simulations.worlds.signatures import Remembering

_USED_NO_NONCE = (Code.WRONG_CHAIN, Code.UNKNOWN_ACCOUNT, Code.BAD_NONCE, Code.EXPIRED)


class Oracles:
    """The judge of one world."""

    def __init__(self, chain: Digest, verifier: Verifier, honest_keys: frozenset[bytes]) -> None:
        self._chain, self._honest_keys = chain, honest_keys
        self._verifier = Remembering(verifier)
        self._digests: dict[int, Digest] = {}
        self._roots: dict[int, bytes] = {}
        self._nonces: dict[tuple[bytes, int], bytes] = {}
        self._must_succeed: set[bytes] = set()
        self._told: dict[int, int] = {}
        self._had: dict[int, int] = {}
        self._told_transactions: dict[int, list[bytes]] = {}
        self._powers: tuple[ValidatorSet | None, dict[bytes, int], int] = (None, {}, 0)
        """The set that was last judged by: the power of each of its keys, and of all together."""
        self._skipped: dict[int, set[int]] = {}
        """The heights that each node has instead of a block the state of a snapshot above it."""

    @property
    def height(self) -> int:
        """The greatest height that an honest node has executed."""
        return max(self._digests, default=0)

    def told(self, process: int) -> int:
        """Up to which height an honest node has told its clients."""
        return self._told.get(process, 0)

    def shown(self, process: int) -> int:
        """Up to which height its clients can know: it told them, or its disk had it at the last start."""
        return max(self.told(process), self._had.get(process, 0))

    def expect_success(self, transaction: bytes) -> None:
        """Name a transaction that is valid whatever comes before it: it may not fail."""
        self._must_succeed.add(transaction)

    def executed(self, process: int, engine: Engine, block: Block, result: BlockResult) -> None:
        """An honest node has executed a block and told its clients."""
        height = block.height
        self._agreed(process, block, result.state_root, result.outcomes)
        try:
            engine.ledger.check_invariants()
        except AssertionError as error:
            raise ViolationError("ledger", f"height {height} on n{process}: {error}") from error
        self._told[process] = height
        told = self._told_transactions.setdefault(process, [])
        told += (transaction.id for transaction in block.transactions)
        self._commit_certificate(process, engine, block)

    def _agreed(
        self, process: int, block: Block, state_root: bytes, outcomes: tuple[Outcome, ...]
    ) -> None:
        """One block and one state for each height."""
        height = block.height
        known = self._digests.get(height)
        if known is None:
            self._digests[height], self._roots[height] = block.digest, state_root
            self._first(block, outcomes)
        elif known != block.digest:
            raise ViolationError(
                "agreement",
                f"height {height}: {known.hex()[:16]} and, on n{process}, {block.digest.hex()[:16]}",
            )
        elif self._roots[height] != state_root:
            raise ViolationError("state root", f"height {height} differs on n{process}")

    def _first(self, block: Block, outcomes: tuple[Outcome, ...]) -> None:
        """What holds for one node's copy of a block holds for all."""
        for transaction, outcome in zip(block.transactions, outcomes, strict=True):
            body = transaction.body
            if not transaction.is_signed(self._verifier):
                raise ViolationError(
                    "validity", f"an unsigned transaction at height {block.height}"
                )
            if transaction.id in self._must_succeed and not outcome.ok:
                raise ViolationError(
                    "validity",
                    f"a valid transaction failed at height {block.height}: {outcome.reason}",
                )
            if outcome.code in _USED_NO_NONCE:
                raise ViolationError(
                    "validity", f"unusable transaction at height {block.height}: {outcome.reason}"
                )
            place = (body.sender, body.nonce)
            if place in self._nonces:
                raise ViolationError(
                    "exactly once", f"nonce {body.nonce} used twice, again at height {block.height}"
                )
            self._nonces[place] = transaction.id

    def _commit_certificate(self, process: int, engine: Engine, block: Block) -> None:
        certificate = engine.chain.certificate(block.height)
        start = engine.chain.epoch(block.header.epoch)
        if certificate is None or start is None:
            raise ViolationError("certificates", f"n{process} has none for height {block.height}")
        ballot = certificate.ballot
        fault = self._fault(certificate, start.members)
        if fault or ballot.digest != block.digest or ballot.height != block.height:
            raise ViolationError(
                "certificates", f"n{process} committed {block.height} with a bad one: {fault}"
            )

    def certified(self, process: int, engine: Engine, certificate: StateCertificate) -> None:
        """An honest node holds a STATE certificate."""
        statement = certificate.statement
        start = engine.chain.epoch(statement.epoch)
        fault = "unknown epoch" if start is None else self._fault(certificate, start.members)
        if fault:
            raise ViolationError(
                "certificates", f"n{process} certified {statement.height} with a bad one: {fault}"
            )
        root = self._roots.get(statement.height)
        if root is not None and root != statement.state_root:
            raise ViolationError("state root", f"another one is certified at {statement.height}")

    def _fault(
        self, certificate: Certificate | StateCertificate, members: ValidatorSet
    ) -> str | None:
        """Judged by the core's own check and, for the power, by one that shares nothing with it."""
        known, powers, total = self._powers
        if known is not members:
            powers = {seat.voting_key: seat.power for seat in members.validators}
            total = sum(seat.power for seat in members.validators)
            self._powers = members, powers, total
        voters = {endorsement.voter for endorsement in certificate.endorsements}
        power = sum([powers.get(voter, 0) for voter in voters])
        if power * 3 <= 2 * total:
            return f"power {power} is no quorum"
        return certificate_fault(certificate, members, self._chain, self._verifier)

    def took_snapshot(self, process: int, chain: KeyValueReader, height: int) -> None:
        """An honest node has put a snapshot's state on its disk: the one that is certified at that height."""
        cut = len(STATE_PREFIX)
        pairs = {key[cut:]: value for key, value in chain.scan(STATE_PREFIX)}
        root, reader = StateTree().update(pairs).root, ChainReader(chain)
        if root != self._roots.get(height):
            raise ViolationError(
                "snapshot", f"n{process} begins at height {height} with a state that is not there"
            )
        certificate, execution = reader.state_certificate(height), reader.execution(height)
        if certificate is None or execution is None or execution.statement != certificate.statement:
            raise ViolationError(
                "snapshot", f"n{process} begins at height {height} without a certificate"
            )
        start = reader.epoch(certificate.statement.epoch)
        fault = "unknown epoch" if start is None else self._fault(certificate, start.members)
        if fault or certificate.statement.state_root != root:
            raise ViolationError(
                "snapshot", f"n{process} begins at height {height} with a bad certificate: {fault}"
            )
        block, outcomes = reader.block(height), execution.results.outcomes
        if block is None or execution.results.root != certificate.statement.results_root:
            raise ViolationError(
                "snapshot", f"n{process} begins at height {height} with other outcomes"
            )
        self._agreed(process, block, root, outcomes)
        told = self._told.get(process, 0)
        self._skipped.setdefault(process, set()).update(range(told + 1, height))
        self._told[process] = max(told, height)

    def sent(
        self, name: str, votes: KeyValueReader, message: Vote | ViewChange | ViewChangeNames
    ) -> None:
        """An honest node sends a vote or a promise: it must be on its disk, and so must the block voted for."""
        if not isinstance(message, Vote):
            found = votes.get(VIEW_KEY)
            promise = None if found is None else read_view(found)
            if promise is None or (promise.epoch, promise.view) < (message.epoch, message.view):
                raise ViolationError(
                    "on disk first",
                    f"{name} promises view {message.view} without having written it",
                )
            return
        ballot = message.ballot
        found = votes.get(BALLOTS_KEY)
        record = None if found is None else decode(found, BallotRecord)
        place = (ballot.epoch, ballot.view, ballot.height)
        if record is None or (record.epoch, record.view, record.height) != place:
            raise ViolationError(
                "on disk first", f"{name} votes at {place} without having written it"
            )
        written = record.prepare if ballot.phase is PREPARE else record.commit
        if written != ballot.digest:
            raise ViolationError("on disk first", f"{name} votes for another block than it wrote")
        if votes.get(BODY_PREFIX + ballot.digest) is None:
            raise ViolationError("on disk first", f"{name} votes for a block that it has not kept")

    def diverged(self, process: int, height: int) -> None:
        """An honest node believes that its state is not the federation's."""
        raise ViolationError("divergence", f"n{process} at height {height}")

    def accused(self, process: int, voter: bytes) -> None:
        """An honest node holds evidence against somebody."""
        if voter in self._honest_keys:
            raise ViolationError(
                "evidence", f"n{process} can prove that honest {voter.hex()[:8]} lied"
            )

    def silenced(self, name: str, sentence: str) -> None:
        """An honest node, whose log is whole and whose key is nobody else's, thinks that it must not vote."""
        raise ViolationError("own votes", f"{name} stopped voting: {sentence}")

    def restarted(self, process: int, engine: Engine) -> None:
        """An honest node is back with what its disk had."""
        told = self._told.get(process, 0)
        if engine.height < told:
            raise ViolationError(
                "durability", f"n{process} told of height {told} and came back at {engine.height}"
            )
        for height in range(max(1, told - 20), engine.height + 1):
            if height in self._skipped.get(process, ()):
                continue
            block, execution = engine.chain.block(height), engine.chain.execution(height)
            if block is None or execution is None:
                raise ViolationError("durability", f"n{process} lost block {height}")
            root, outcomes = execution.statement.state_root, execution.results.outcomes
            self._agreed(process, block, root, outcomes)
        self._had[process] = engine.height
        for transaction in self._told_transactions.get(process, ()):
            if engine.chain.place_of(transaction) is None:
                raise ViolationError("durability", f"n{process} lost {transaction.hex()[:16]}")
