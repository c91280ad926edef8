"""Certificates as collectors hand them out: the signers of a large set as bits, which saves a third of the bytes.

A certificate of n Ed25519 signatures has 64 bytes for each, so to n receivers it is O(n^2) bytes whoever sends it. What
a collector saves is messages, and the signed statement that would stand beside each signature.
"""

from __future__ import annotations

from consensus.certificates import Certificate, Endorsement, Endorsements, StateCertificate
from consensus.messages import CollectedStates, CollectedVotes, Vote
from consensus.quorum import ValidatorSet
from gossip.identity import Signature

_SIGNATURE_BYTES = 64


def packed(endorsements: Endorsements, members: ValidatorSet) -> tuple[bytes, bytes]:
    """A bit for each voter, in the order of their keys, and the signatures alone: a third less than with the keys."""
    bits = 0
    for endorsement in endorsements:
        bits |= 1 << members.key_order[endorsement.voter]
    size = (len(members.validators) + 7) // 8
    return bits.to_bytes(size, "little"), b"".join(one.signature for one in endorsements)


def unpacked(voters: bytes, signatures: bytes, members: ValidatorSet) -> Endorsements | None:
    """The endorsements, in the order of certificates; None if the two do not belong together."""
    keys, bits = tuple(members.key_order), int.from_bytes(voters, "little")
    if bits >> len(keys) or bits.bit_count() * _SIGNATURE_BYTES != len(signatures):
        return None
    chosen = (key for place, key in enumerate(keys) if bits >> place & 1)
    starts = range(0, len(signatures), _SIGNATURE_BYTES)
    return tuple(
        Endorsement(key, Signature(signatures[start : start + _SIGNATURE_BYTES]))
        for key, start in zip(chosen, starts, strict=True)
    )


def collected_votes(certificate: Certificate, members: ValidatorSet) -> CollectedVotes:
    """A certificate as it is handed out."""
    return CollectedVotes(certificate.ballot, *packed(certificate.endorsements, members))


def vote_in(message: CollectedVotes, voter: bytes, members: ValidatorSet) -> Vote | None:
    """The vote of one member, if it is among those that were collected."""
    place, bits = members.key_order.get(voter), int.from_bytes(message.voters, "little")
    if place is None or not bits >> place & 1:
        return None
    start = (bits & ((1 << place) - 1)).bit_count() * _SIGNATURE_BYTES
    signature = message.signatures[start : start + _SIGNATURE_BYTES]
    return Vote(message.ballot, Endorsement(voter, Signature(signature)))


def collected_states(certificate: StateCertificate, members: ValidatorSet) -> CollectedStates:
    """The same of STATE votes."""
    return CollectedStates(certificate.statement, *packed(certificate.endorsements, members))
