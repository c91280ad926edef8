"""Counting votes: one per voter and question, by power, up to the quorum."""

from __future__ import annotations

from consensus.certificates import Endorsement
from consensus.quorum import ValidatorSet
from gossip.identity import Signature


class Tally:
    """The votes on one question (a phase in a view, or the state at a height) by the digest they name."""

    __slots__ = ("_by_digest", "_choice", "_exposed", "_members", "_power")

    def __init__(self, members: ValidatorSet) -> None:
        self._members = members
        self._choice: dict[bytes, bytes] = {}
        self._by_digest: dict[bytes, dict[bytes, Signature]] = {}
        self._power: dict[bytes, int] = {}
        self._exposed: set[bytes] = set()

    def choice_of(self, voter: bytes) -> bytes | None:
        """The digest this voter's counted vote names."""
        return self._choice.get(voter)

    def expose(self, voter: bytes) -> None:
        """Note that this member has signed two answers."""
        self._exposed.add(voter)

    def is_exposed(self, voter: bytes) -> bool:
        """Whether two answers of this member have been seen."""
        return voter in self._exposed

    def add(self, voter: bytes, digest: bytes, signature: bytes) -> None:
        """Count a checked vote of a member that has not voted here before."""
        seat = self._members.member(voter)
        assert seat is not None
        assert voter not in self._choice
        self._choice[voter] = digest
        self._by_digest.setdefault(digest, {})[voter] = Signature(signature)
        self._power[digest] = self._power.get(digest, 0) + seat.power

    def has_quorum(self, digest: bytes) -> bool:
        """Whether the votes for this digest are a quorum."""
        return self._members.is_quorum(self._power.get(digest, 0))

    def decided(self) -> bytes | None:
        """The digest that a quorum voted for, if any."""
        for digest, power in self._power.items():
            if self._members.is_quorum(power):
                return digest
        return None

    def endorsements(self, digest: bytes) -> tuple[Endorsement, ...]:
        """The signatures for this digest, in canonical order."""
        votes = self._by_digest.get(digest, {})
        return tuple([Endorsement(voter, signature) for voter, signature in sorted(votes.items())])
