"""After a lasting loss of quorum: the survivors go on in a new epoch, by their word alone.

Validators that are gone for good may leave too little power for a quorum, and no transaction can take their seats away
any more. Then the operators of those that are left agree, outside of the protocol, on who is lost. Each survivor signs
one and the same hand-over: after this block, in this state, the survivors vote, each with power 1. It has the form of
every hand-over between epochs (`EpochLink`), but less than a quorum behind it.

That is a **fork of trust**. Everybody who goes on must be given the same file, newcomers too. A block above, which only
lost validators knew to be committed, is gone with them; if the lost ones are not, and are a quorum by themselves with
one survivor that runs an old copy of its home, two histories go on. `verify` therefore accepts such a hand-over only
from a reader that pins a later set of validators (`Trust`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import structs

from consensus.certificates import Endorsement, StateCertificate, StateStatement, endorse
from consensus.chain import ChainReader, certified_height_write, epoch_write, recovery_write
from consensus.ledger.machine import Ledger
from consensus.quorum import MAX_VALIDATORS
from consensus.receipts import EpochLink
from gossip.codec import Bytes32, Digest, Wire, digest, encode
from gossip.effects import Write
from gossip.identity import Signer


class RecoveryError(Exception):
    """There is nothing to recover, or the file is about something else; the text says what."""


class Recovery(Wire, frozen=True):
    """What the survivors sign, and who has. `lost` are the nodes whose seats are given up, in order."""

    federation: Bytes32
    lost: Annotated[tuple[Bytes32, ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)]
    link: EpochLink

    @property
    def height(self) -> int:
        """The last block of the epoch that has lost its quorum."""
        return self.link.certificate.statement.height

    @property
    def missing(self) -> tuple[bytes, ...]:
        """The nodes of the survivors that have not signed yet."""
        signed = {one.voter for one in self.link.certificate.endorsements}
        return tuple(
            seat.node for seat in self.link.members.validators if seat.voting_key not in signed
        )


def propose(
    ledger: Ledger, chain: ChainReader, lost: Iterable[bytes]
) -> tuple[Recovery, tuple[Write, ...]]:
    """The hand-over after the ledger's last block, unsigned, and what applying it writes.

    The ledger is changed by it and must not be used any more. Raises `RecoveryError`.
    """
    present, height, gone = ledger.validators, ledger.height, frozenset(lost)
    block = chain.block(height)
    if block is None:
        raise RecoveryError("there is no block yet: found a new federation instead")
    strangers = sorted(gone - set(present.nodes))
    if strangers:
        raise RecoveryError(f"{strangers[0].hex()} has no seat in epoch {present.epoch}")
    left = sum(seat.power for seat in present.validators if seat.node not in gone)
    if not gone or not left:
        raise RecoveryError("name those that are lost; somebody must be left")
    if present.is_quorum(left):
        raise RecoveryError(
            f"power {left} of {present.total} is left, which is a quorum: start those nodes, and take the "
            "seats away with `bizra-node validators remove`"
        )
    before = ledger.state_root
    recovered = ledger.recover(gone)
    statement = StateStatement(
        present.epoch,
        height,
        block.digest,
        digest(b"recovery", encode((sorted(gone), before))),
        recovered.state_root,
        recovered.members.hash,
    )
    link = EpochLink(StateCertificate(statement, ()), recovered.members)
    writes = (
        *recovered.writes,
        epoch_write(height, recovered.members),
        certified_height_write(height),
    )
    recovery = Recovery(ledger.genesis.federation_id, tuple(sorted(gone)), link)
    return recovery, writes


def same_hand_over(one: Recovery, other: Recovery) -> str | None:
    """Where two differ in what is signed, or None. `one` is made here, `other` came in a file."""
    ours, theirs = one.link.certificate.statement, other.link.certificate.statement
    if one.federation != other.federation:
        return "it is of another federation"
    if one.lost != other.lost:
        return "it gives up other seats"
    if ours.epoch != theirs.epoch:
        return f"it ends epoch {theirs.epoch}; this node is in epoch {ours.epoch}"
    if (ours.height, ours.block_hash) != (theirs.height, theirs.block_hash):
        return (
            f"it begins after height {theirs.height}, this node is at height {ours.height}: start the "
            "survivors, let all reach the same height, and propose again where that is greatest"
        )
    if ours != theirs or one.link.members != other.link.members:
        return "this node came to another state at that height: its data is damaged, or that of whoever proposed"
    return None


def signed(recovery: Recovery, key: Signer) -> Recovery:
    """With one more signature; the key must vote for a survivor. Raises `RecoveryError`."""
    certificate = recovery.link.certificate
    if recovery.link.members.member(key.public) is None:
        raise RecoveryError("this node's voting key has no seat among the survivors")
    others = [one for one in certificate.endorsements if one.voter != key.public]
    own = endorse(key, Digest(recovery.federation), certificate.statement)
    endorsements = tuple(sorted((*others, own), key=_voter))
    changed = structs.replace(certificate, endorsements=endorsements)
    return structs.replace(recovery, link=structs.replace(recovery.link, certificate=changed))


def _voter(one: Endorsement) -> bytes:
    return one.voter


def record(recovery: Recovery) -> Write:
    """The write that keeps the signed hand-over for receipts."""
    return recovery_write(recovery.link.members.epoch, recovery.link.certificate)
