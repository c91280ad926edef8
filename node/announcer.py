"""What `bizra-node run` says on the terminal: few lines, each with what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from consensus.genesis import Genesis
from consensus.quorum import ValidatorSet
from gossip.membership.messages import Standing
from gossip.membership.notices import (
    ApplicantArrived,
    BootstrapRefused,
    FederationFound,
    StandingChanged,
    StatusChanged,
    WrongFederation,
)
from gossip.sightings import ApplyTo
from node.views.records import StatusView

_SHORT = 12
_SHOWN = 3


class Announcer:
    """Writes for people; programs read the HTTP interface."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._in_vain: set[tuple[str, str]] = set()

    def _say(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._out)
        self._out.flush()

    def founded(self, genesis: Genesis) -> None:
        """A federation of one begins here."""
        self._say(
            f"Founded the federation {genesis.name!r}.",
            f"  genesis hash  {genesis.federation_id.hex()}",
        )

    def looking(self, bootstrap: Sequence[str]) -> None:
        """The node asks others for their federation."""
        shown = ", ".join(text if text.startswith("/") else "the invite" for text in bootstrap)
        self._say(f"Looking for a federation at {shown} ...")

    def listening(self) -> None:
        """The node hears whether there is a federation on the local network."""
        self._say("Listening for a federation on this network ... (--found NAME founds at once)")

    def heard(self, near: ApplyTo) -> None:
        """There is one."""
        names = ", ".join(member.name for member in near.members[:_SHOWN])
        self._say(
            f"Heard {names} on this network, of the federation {near.federation.hex()}.",
            "  Asking to be let in there; to found another one instead: --found NAME",
        )

    def dial_in_vain(self, address: str, reason: str) -> None:
        """Nobody answers where the node was told to join; said once for each address and reason."""
        if (address, reason) not in self._in_vain:
            self._in_vain.add((address, reason))
            self._say(
                f"In vain so far: {reason}.",
                f"  Check that the node at {address} runs, and that no firewall is in between.",
                "  Trying again; Ctrl-C ends.",
            )

    def wrong_clock(self, sentence: str) -> None:
        """A peer's clock and ours disagree, or do so no more."""
        self._say(sentence)

    def federation_found(self, genesis: Genesis, answer: FederationFound) -> None:
        """Somebody answered; from now on this home belongs to that federation."""
        self._say(
            f"Found the federation {genesis.name!r} at the node {answer.peer.hex()[:_SHORT]}.",
            f"  genesis hash  {answer.federation.hex()}  (kept from now on)",
        )

    def running(self, status: StatusView, addresses: Sequence[str], api: str) -> None:
        """The node is up."""
        self._say(
            f"Node {status.name!r} is running as {status.role} at height {status.height}.",
            f"  node id       {status.node_id}",
            f"  HTTP          {api}",
        )
        self._say(*(f"  listening on  {address}" for address in addresses))
        if not addresses or status.role == "applicant":
            return
        self._say(
            "To join from another machine, type there:",
            f"  bizra-node run --bootstrap {addresses[0]}",
        )
        if status.role == "validator":
            self._say(
                "It then waits until you type `bizra-node admit ID` here; an invite "
                "(`bizra-node invite`) lets it in at once."
            )
        else:
            self._say("It then waits until a validator types `bizra-node admit ID`.")

    def silenced(self, reason: str) -> None:
        """The node has a voting key and must not use it."""
        self._say(
            f"This node does NOT vote: {reason}.",
            "  It goes on as an observer. Make sure that no copy of this home runs anywhere; then",
            "  give it a fresh voting key: bizra-node validators rotate-key",
        )

    def rotated(self, voting_key: bytes) -> None:
        """The own voting key has changed."""
        self._say(f"This node votes with a fresh key from now on ({voting_key.hex()[:_SHORT]}).")

    def own_role(self, role: str, members: ValidatorSet) -> None:
        """The federation has given this node a role."""
        tolerated = members.faults_tolerated
        self._say(
            f"This node is now {role} of the federation "
            f"({len(members.validators)} validators, {tolerated} may fail)."
        )

    def expelled(self) -> None:
        """The federation has shut this node out."""
        self._say(
            "The validators have ended this node's membership: nobody passes anything on to it any more.",
            "What it owns stays its own. A validator can let it in again: bizra-node admit",
        )

    def epoch(self, members: ValidatorSet) -> None:
        """The validator set has changed."""
        count, tolerated = len(members.validators), members.faults_tolerated
        note = "" if tolerated else "; no fault is tolerated below four equal validators"
        self._say(f"Epoch {members.epoch}: {count} validators, {tolerated} may fail{note}.")

    def peer_news(self, notice: object) -> None:
        """Say of the membership's news what an owner should know."""
        match notice:
            case ApplicantArrived():
                node, name = notice.applicant.node_id.hex(), notice.applicant.name
                self._say(
                    f"{f'The node {name}' if name else 'A node'} asks to be let in. "
                    "If you know it, type:",
                    f"  bizra-node admit {node}",
                )
            case StandingChanged() if notice.standing is Standing.APPLICANT:
                self._say(f"Waiting to be let in by {notice.peer.hex()[:_SHORT]}: {notice.reason}")
            case StandingChanged():
                self._say(f"The node {notice.peer.hex()[:_SHORT]} takes this one for a member.")
            case StatusChanged() if notice.before is not None:
                self._say(f"Peer {notice.name} ({notice.node.hex()[:_SHORT]}) is {notice.after}.")
            case WrongFederation():
                self._say(
                    f"The node at {notice.address} belongs to another federation "
                    f"({notice.theirs.hex()[:_SHORT]}); this home belongs to "
                    f"{notice.ours.hex()[:_SHORT]}. To join that one, take another home: --home DIR"
                )
            case BootstrapRefused():
                self._say(f"The invite can't be used: {notice.reason}")
            case _:
                pass

    def snapshot_taken(self, height: int) -> None:
        """The node was far behind; it begins anew after a snapshot."""
        self._say(f"Took a snapshot of the ledger at height {height}; going on from there.")

    def stopped(self) -> None:
        """The daemon ends."""
        self._say("Stopped.")
