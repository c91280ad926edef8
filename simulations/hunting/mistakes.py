"""The mistakes themselves: what each mutant puts in the place of a sound function."""

# ruff: noqa: ANN401, SLF001, D103 - a mutant reaches into what it breaks; `mutants.py` says what each one is
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

import consensus.engine
import consensus.pbft.collecting
import consensus.pbft.finality
import consensus.pbft.replica_base
import consensus.pbft.view_change
import consensus.pbft.view_changing
import consensus.pbft.voting
import consensus.quorum
import consensus.snapshot
import consensus.sync
import simulations.snapshot_node
from consensus.block_rules import BlockRules
from consensus.certificates import Phase, certificate_fault, is_endorsed
from consensus.engine import Engine
from consensus.ledger.machine import Ledger
from consensus.ledger.records import Account
from consensus.ledger.state_tree import StateTree
from consensus.ledger.tables import ACCOUNTS
from consensus.pbft.finality import Finality
from consensus.pbft.replica import Replica
from consensus.pbft.slot import Slot
from consensus.pbft.tally import Tally
from consensus.pbft.view_change import Binding
from consensus.pbft.view_changing import ViewChanging
from consensus.pbft.view_requests import ViewRequests
from consensus.pbft.vote_log import VoteLog, load_vote_log
from consensus.pbft.voting import Voting
from gossip.codec import decode, digest, encode
from gossip.effects import Persist, Store
from gossip.identity import Signature

Patch = tuple[Any, str, Any]


def votes_after_sending() -> list[Patch]:
    sound = Engine.handle

    def handle(self: Engine, now_ms: int, event: Any) -> list[Any]:
        effects = sound(self, now_ms, event)
        late = [one for one in effects if isinstance(one, Persist) and one.store is Store.VOTES]
        return [one for one in effects if one not in late] + late

    return [(Engine, "handle", handle)]


def votes_forgotten() -> list[Patch]:
    return [(consensus.engine, "load_vote_log", lambda _: VoteLog())]


def ballots_forgotten() -> list[Patch]:
    def load(reader: Any) -> VoteLog:
        log = load_vote_log(reader)
        return VoteLog(log.view, None, log.prepared, log.bodies)

    return [(consensus.engine, "load_vote_log", load)]


def weak_quorum() -> list[Patch]:
    return [(consensus.quorum, "is_quorum", consensus.quorum.is_weak_quorum)]


def half_quorum() -> list[Patch]:
    return [(consensus.quorum, "is_quorum", lambda power, total: 2 * power > total)]


def any_digest() -> list[Patch]:
    def has_quorum(self: Tally, _: bytes) -> bool:
        return self._members.is_quorum(sum(self._power.values()))

    def decided(self: Tally) -> bytes | None:
        return next(iter(self._power), None) if has_quorum(self, b"") else None

    return [(Tally, "has_quorum", has_quorum), (Tally, "decided", decided)]


def votes_not_voters() -> list[Patch]:
    def add(self: Tally, voter: bytes, digest: bytes, signature: bytes) -> None:
        seat = self._members.member(voter)
        assert seat is not None
        self._by_digest.setdefault(digest, {})[voter] = signature  # type: ignore[assignment]
        self._power[digest] = self._power.get(digest, 0) + seat.power

    return [(Tally, "add", add), (Tally, "choice_of", lambda _self, _voter: None)]


def unsigned_votes() -> list[Patch]:
    return [(consensus.pbft.voting, "is_endorsed", lambda *_: True)]


def second_proposal() -> list[Patch]:
    sound = Voting._on_proposal

    def on_proposal(self: Voting, peer: Any, message: Any) -> Any:
        slot, known = self._slot, self._slot.heard
        here = self._is_here(message.epoch, message.view, message.height)
        if here and known is not None and known.digest != message.digest:
            slot.proposal = slot.gathering = slot.prepare_cast = slot.commit_cast = None
        return sound(self, peer, message)

    return [(Voting, "_on_proposal", on_proposal)]


def _with_binding(change: Callable[..., Binding]) -> list[Patch]:
    modules = (
        consensus.pbft.view_change,
        consensus.pbft.view_changing,
        consensus.pbft.replica_base,
    )
    return [(module, "compute_binding", change) for module in modules]


def prepared_dropped() -> list[Patch]:
    sound = consensus.pbft.view_change.compute_binding

    def binding(changes: Any, rules: Any) -> Binding:
        found = sound(changes, rules)
        return Binding(found.height, found.digest, None, ())

    return _with_binding(binding)


def any_certificate() -> list[Patch]:
    sound = consensus.pbft.view_change.compute_binding

    def binding(changes: Any, rules: Any) -> Binding:
        found = sound(changes, rules)
        proofs = [
            one.prepared
            for one in changes
            if one.prepared is not None and one.prepared.header.height == found.height + 1
        ]
        if not proofs:
            return found
        lowest = min(proofs, key=lambda proof: proof.certificate.ballot.view)
        return Binding(found.height, found.digest, lowest.header, found.signers)

    return _with_binding(binding)


def not_recomputed() -> list[Patch]:
    return [(consensus.pbft.replica_base.ReplicaBase, "_forced", lambda _: None)]


def unverified_changes() -> list[Patch]:
    return [(consensus.pbft.view_change, "_prepared_fault", lambda _change, _rules: None)]


def old_view_votes() -> list[Patch]:
    sound = ViewChanging._ask_for_view

    def ask(self: Replica, view: int) -> None:
        slot, at = self._slot, self._view
        kept = slot.proposal, slot.prepare_cast, slot.commit_cast
        sound(self, view)
        certificate = None
        if kept[0] is not None and kept[2] is None and self._view > at:
            ballot_tally = slot.tally(Phase.PREPARE, at)
            if ballot_tally.choice_of(self._signer.public) is not None:
                certificate = kept[0].digest
        if certificate is not None:
            now, self._view = self._view, at
            vote = self._own_vote(Phase.COMMIT, certificate)
            self._view = now
            self._cast_to_all(vote)

    return [(ViewChanging, "_ask_for_view", ask)]


def below_binding() -> list[Patch]:
    def may_vote(self: Replica) -> bool:
        return self._entered and self.is_validator

    return [(consensus.pbft.replica_base.ReplicaBase, "_may_vote", may_vote)]


def never_resent() -> list[Patch]:
    def resend(self: Replica, now_ms: int) -> list[Any]:
        self._now_ms = now_ms
        self._propose_again()
        self._check_committed()
        return self._take()

    return [
        (Replica, "resend", resend),
        (Replica, "_missing_at", lambda _self, _status: []),
    ]


def no_joining() -> list[Patch]:
    return [
        (ViewRequests, "view_to_join", lambda _self, _view: None),
        (ViewRequests, "view_after_suspicions", _own_suspicion_only),
    ]


def _own_suspicion_only(self: ViewRequests, view: int) -> int | None:
    views = [one for one in self._suspicions.values() if one >= view]
    return min(views) + 1 if self._members.is_quorum(len(views)) else None


def not_proposed_again() -> list[Patch]:
    return [(Voting, "_propose_again", lambda _: None)]


def unchecked_blocks() -> list[Patch]:
    return [(BlockRules, "fault", lambda _self, _block: None)]


def unchecked_sync() -> list[Patch]:
    return [(consensus.engine, "certified_block_fault", lambda *_: None)]


def silent_after_restart() -> list[Patch]:
    return [(Finality, "answer", lambda _self, _peer, _certified: [])]


def tip_of_another() -> list[Patch]:
    sound = Slot.committed_certificate

    def committed(self: Slot) -> Any:
        found = sound(self)
        if found is None or len(found.endorsements) < 2:  # noqa: PLR2004
            return found
        return msgspec.structs.replace(found, endorsements=found.endorsements[:-1])

    return [(Slot, "committed_certificate", committed)]


def two_f_plus_one() -> list[Patch]:
    def is_quorum(power: int, total: int) -> bool:
        return power >= 2 * ((total - 1) // 3) + 1

    return [(consensus.quorum, "is_quorum", is_quorum)]


class _CountedAlways(Tally):
    """Counts every vote that comes, whoever sent it."""

    def choice_of(self, voter: bytes) -> bytes | None:  # noqa: ARG002 - forgets who voted
        return None

    def add(self, voter: bytes, digest: bytes, signature: bytes) -> None:
        seat = self._members.member(voter)
        assert seat is not None
        self._by_digest.setdefault(digest, {})[voter] = Signature(signature)
        self._power[digest] = self._power.get(digest, 0) + seat.power


def state_votes_not_voters() -> list[Patch]:
    return [(consensus.pbft.finality, "Tally", _CountedAlways)]


def unmatched_replies() -> list[Patch]:
    def fault(item: Any, tip: Any, members: Any, chain: Any, verifier: Any) -> str | None:
        header = item.block.header
        if header.height != tip.height + 1 or header.prev_hash != tip.digest:
            return "it does not follow the last block"
        return certificate_fault(item.certificate, members, chain, verifier)

    return [(consensus.engine, "certified_block_fault", fault)]


def execution_over_a_gap() -> list[Patch]:
    sound = consensus.sync.certified_block_fault

    def fault(item: Any, tip: Any, members: Any, chain: Any, verifier: Any) -> str | None:
        header = item.block.header
        before = replace(tip, height=header.height - 1, digest=header.prev_hash)
        return sound(item, before, members, chain, verifier)

    return [(consensus.engine, "certified_block_fault", fault)]


def client_table_lost() -> list[Patch]:
    sound = Ledger.load.__func__  # type: ignore[attr-defined]

    def load(cls: Any, genesis: Any, reader: Any, verifier: Any) -> Ledger:
        ledger: Ledger = sound(cls, genesis, reader, verifier)
        for owner, account in ledger.accounts():
            ledger._state.put(ACCOUNTS.key(owner), Account(account.balance, 0))
        return ledger

    return [(Ledger, "load", classmethod(load))]


def constant_timeout() -> list[Patch]:
    def timeout_ms(self: Any) -> int:
        patience: int = self._timing.progress_ms
        return patience

    return [(consensus.pbft.replica_base.ReplicaBase, "_timeout_ms", timeout_ms)]


def change_never_resent() -> list[Patch]:
    resend, missing = Replica.resend, Replica._missing_at

    def without_change(self: Replica, now_ms: int) -> list[Any]:
        kept, self._own_change = self._own_change, None
        effects = resend(self, now_ms)
        self._own_change = kept
        return effects

    def nothing_asked(self: Replica, status: Any) -> list[Any]:
        return [one for one in missing(self, status) if one is not self._own_change]

    return [(Replica, "resend", without_change), (Replica, "_missing_at", nothing_asked)]


def unsorted_set() -> list[Patch]:
    """Each node walks over the state's changes in another order, as a set hashed with another seed does."""
    begin, execute = Engine.__init__, Ledger.execute

    def init(self: Engine, **arguments: Any) -> None:
        begin(self, **arguments)
        self.ledger._salt = self.keys.present  # type: ignore[attr-defined]

    def unsorted(self: Ledger, block: Any) -> Any:
        result = execute(self, block)
        salt = getattr(self, "_salt", b"")
        writes = sorted(result.writes, key=lambda write: digest(b"order", salt + write[0]))
        results = msgspec.structs.replace(
            result.results, writes_digest=digest(b"state-writes", encode(writes))
        )
        return replace(result, results=results, results_root=results.root)

    return [(Engine, "__init__", init), (Ledger, "execute", unsorted)]


def unbounded_future() -> list[Patch]:
    base = consensus.pbft.replica_base.ReplicaBase

    def keep(self: Any, peer: Any, message: Any) -> None:
        self._ahead.setdefault(peer, []).append(message)

    return [(base, "_keep_ahead", keep)]


def snapshot_unproven() -> list[Patch]:
    return [(simulations.snapshot_node, "proof_fault", lambda *_: None)]


def snapshot_unsigned() -> list[Patch]:
    return [(consensus.snapshot, "certificate_fault", lambda *_: None)]


def snapshot_other_outcomes() -> list[Patch]:
    sound = consensus.snapshot.proof_fault

    def fault(proof: Any, genesis: Any, verifier: Any) -> str | None:
        found = sound(proof, genesis, verifier)
        return None if found == "its outcomes are not those that were certified" else found

    return [(simulations.snapshot_node, "proof_fault", fault)]


def snapshot_other_state() -> list[Patch]:
    sound = consensus.snapshot.restored

    def restored(proof: Any, pairs: Any, present: Any) -> Any:
        """The root is taken as it comes."""
        kept = dict(pairs)
        root = StateTree().update(kept).root
        statement = msgspec.structs.replace(proof.execution.statement, state_root=root)
        execution = msgspec.structs.replace(proof.execution, statement=statement)
        return sound(msgspec.structs.replace(proof, execution=execution), kept.items(), present)

    return [(simulations.snapshot_node, "restored", restored)]


def snapshot_without_nonces() -> list[Patch]:
    """The client table is missing: whoever makes a snapshot leaves it out, whoever takes one doesn't notice."""
    sound = consensus.snapshot.state_pages

    def pages(pairs: Any) -> Any:
        return sound(
            (key, encode(Account(decode(value, Account).balance, 0)))
            if key.startswith(ACCOUNTS.prefix)
            else (key, value)
            for key, value in pairs
        )

    return [(simulations.snapshot_node, "state_pages", pages), *snapshot_other_state()]


def unknown_rules() -> list[Patch]:
    return [(Ledger, "is_outdated", property(lambda _: False))]


def collected_unsigned() -> list[Patch]:
    def fault(certificate: Any, members: Any, _chain: Any, _verifier: Any) -> str | None:
        voters = frozenset(one.voter for one in certificate.endorsements)
        return None if members.is_quorum(members.power_of(voters)) else "no quorum"

    return [(consensus.pbft.collecting, "certificate_fault", fault)]


def collected_too_few() -> list[Patch]:
    def fault(certificate: Any, members: Any, chain: Any, verifier: Any) -> str | None:
        signed = all(
            is_endorsed(one, certificate.ballot, chain, verifier)
            for one in certificate.endorsements
        )
        return None if signed and members.epoch == certificate.ballot.epoch else "not signed"

    return [(consensus.pbft.collecting, "certificate_fault", fault)]


def collected_of_another_phase() -> list[Patch]:
    def fault(certificate: Any, members: Any, chain: Any, verifier: Any) -> str | None:
        other = msgspec.structs.replace(
            certificate.ballot, phase=Phase(3 - certificate.ballot.phase)
        )
        turned = msgspec.structs.replace(certificate, ballot=other)
        return certificate_fault(certificate, members, chain, verifier) and certificate_fault(
            turned, members, chain, verifier
        )

    return [(consensus.pbft.collecting, "certificate_fault", fault)]
