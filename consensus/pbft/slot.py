"""All that a replica knows about the one height being decided."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from consensus.blocks import Block
from consensus.certificates import COMMIT, PREPARE, Ballot, Certificate, Endorsement, Phase
from consensus.messages import PreparedProof, Proposal, Vote
from consensus.pbft.bodies import Bodies, LoadBody
from consensus.pbft.collection import Collection
from consensus.pbft.gathering import Gathering
from consensus.pbft.tally import Tally
from consensus.quorum import ValidatorSet

VIEWS_BACK = 2
"""COMMITs of this many earlier views still count: a quorum of them decides whatever the view."""


class Slot:
    """Proposal, bodies, votes and own casts for one height of one epoch."""

    __slots__ = (
        "_members",
        "_tallies",
        "bodies",
        "collection",
        "commit_cast",
        "decided",
        "gathering",
        "height",
        "is_leader_exposed",
        "prepare_cast",
        "prepared",
        "proposal",
        "shown_commit",
        "shown_prepare",
        "wanted",
    )

    def __init__(
        self, members: ValidatorSet, height: int, load_body: LoadBody | None = None
    ) -> None:
        self._members = members
        self._tallies: dict[tuple[Phase, int], Tally] = {}
        self.height = height
        self.gathering: Gathering | None = None
        """A proposal of this view whose bodies are not all here."""
        self.proposal: Proposal | None = None
        """The proposal of this view, once its block is whole and found sound."""
        self.is_leader_exposed = False
        """Whether two proposals of this view's leader have been seen."""
        self.bodies = Bodies(load_body)
        self.wanted: set[bytes] = set()
        self.prepared: PreparedProof | None = None
        self.prepare_cast: bytes | None = None
        self.commit_cast: bytes | None = None
        self.decided = False
        self.shown_commit: Certificate | None = None
        """A commit certificate that somebody showed, checked."""
        self.shown_prepare: Certificate | None = None
        """The quorum of PREPAREs of this view, as a collector has handed it out, checked."""
        self.collection = Collection()

    @property
    def heard(self) -> Proposal | None:
        """The proposal of this view, whole or not."""
        return self.proposal if self.gathering is None else self.gathering.proposal

    @property
    def block(self) -> Block | None:
        """The block of the proposal."""
        return None if self.proposal is None else self.bodies.get(self.proposal.digest)

    @property
    def has_votes(self) -> bool:
        """Whether anybody has voted at this height."""
        return bool(self._tallies)

    def tally(self, phase: Phase, view: int) -> Tally:
        """The votes of one phase in one view."""
        tally = self._tallies.get((phase, view))
        if tally is None:
            tally = self._tallies[phase, view] = Tally(self._members)
        return tally

    def votes_of(self, voter: bytes) -> tuple[Vote, ...]:
        """The counted votes of one voter, newest view first."""
        found: list[Vote] = []
        for (phase, view), tally in sorted(self._tallies.items(), reverse=True):
            digest = tally.choice_of(voter)
            if digest is not None:
                ballot = Ballot(phase, self._members.epoch, view, self.height, digest)
                one = next(one for one in tally.endorsements(digest) if one.voter == voter)
                found.append(Vote(ballot, one))
        for shown in (self.shown_commit, self.shown_prepare):
            if shown is not None:
                found += (
                    Vote(shown.ballot, one) for one in shown.endorsements if one.voter == voter
                )
        return tuple(found)

    def prepared_certificate(self, view: int) -> Certificate | None:
        """The quorum of PREPAREs for the proposal of this view, if there is one."""
        if self.proposal is None:
            return None
        digest, shown = self.proposal.digest, self.collected(PREPARE, view)
        if shown is not None and shown.ballot.digest == digest:
            return shown
        if not self.tally(PREPARE, view).has_quorum(digest):
            return None
        return self.certificate(PREPARE, view, digest)

    def collected(self, phase: Phase, view: int) -> Certificate | None:
        """What somebody has shown to answer the votes of this phase and view."""
        shown = self.shown_prepare if phase is PREPARE else self.shown_commit
        is_now = shown is not None and (phase is COMMIT or shown.ballot.view == view)
        return shown if is_now else None

    def keep_collected(self, certificate: Certificate) -> None:
        """Keep a checked certificate of this height."""
        if certificate.ballot.phase is PREPARE:
            self.shown_prepare = certificate
        else:
            self.shown_commit = certificate

    def committed_certificate(self) -> Certificate | None:
        """The quorum of COMMITs in any view, counted or shown, if there is one."""
        for (phase, view), tally in self._tallies.items():
            if phase is COMMIT:
                digest = tally.decided()
                if digest is not None:
                    return self.certificate(phase, view, digest)
        return self.shown_commit

    @property
    def is_committed(self) -> bool:
        """Whether there is one."""
        return self.shown_commit is not None or any(
            phase is COMMIT and tally.decided() is not None
            for (phase, _), tally in self._tallies.items()
        )

    def certificate(self, phase: Phase, view: int, digest: bytes) -> Certificate:
        """The votes that are counted for a digest."""
        ballot = Ballot(phase, self._members.epoch, view, self.height, digest)
        return Certificate(ballot, self.tally(phase, view).endorsements(digest))

    def leave_view(self, view: int, written: AbstractSet[bytes]) -> None:
        """A higher view is asked for: proposal and casts of the old one are not this view's.

        `written` are the digests of blocks that are on disk.
        """
        self.proposal = self.gathering = self.prepare_cast = self.commit_cast = None
        self.is_leader_exposed, self.shown_prepare = False, None
        self.collection.leave_view()
        self.bodies.thin_out(
            written, () if self.prepared is None else (self.prepared.header.digest,)
        )
        oldest = view - VIEWS_BACK
        self._tallies = {key: one for key, one in self._tallies.items() if key[1] >= oldest}

    def count_own(self, phase: Phase, view: int, vote: Endorsement, digest: bytes) -> None:
        """Put the own vote among the others."""
        tally = self.tally(phase, view)
        if tally.choice_of(vote.voter) is None:
            tally.add(vote.voter, digest, vote.signature)

    def check_invariants(self) -> None:
        """What must hold after every event."""
        assert self.proposal is None or self.gathering is None
        assert self.commit_cast is None or self.prepared is not None
        assert not self.decided or self.is_committed
