"""Invites: one string that lets one node in, once, until it expires.

An invite names the federation and where to find its issuer, and is signed by the issuer, who alone
honours it. It is a bearer's right: whoever shows it first has it, so a newcomer shows it to nobody
but the issuer.

The string is `bizra1-` and base32 of: length (2 bytes), canonical MessagePack, checksum (4 bytes).
Base32 survives double clicks, reading aloud and the dense mode of QR codes; the length tells a cut
string from a mistyped one.
"""

from __future__ import annotations

import base64
import binascii
import enum
from typing import Annotated

import msgspec

from gossip.codec import (
    Bytes32,
    Bytes64,
    DecodeError,
    Digest,
    Natural,
    Wire,
    decode_canonical,
    digest,
    encode,
)
from gossip.identity import Signer, Verifier, signing_bytes
from gossip.membership.records import MAX_ADDRESSES, Multiaddr

PREFIX = "bizra1-"
_LENGTH_BYTES = 2
_CHECKSUM_BYTES = 4
_FRAME_BYTES = _LENGTH_BYTES + _CHECKSUM_BYTES
_MAX_LETTERS = 8_000
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz234567")


class InviteFault(enum.StrEnum):
    """Why an invite is refused; the value is a sentence for a person."""

    NOT_AN_INVITE = "this is not an invite: invites begin with bizra1-"
    CUT = "this invite is cut off: copy the whole string, from bizra1- to its end"
    TOO_LONG = "this invite has letters too many at its end: copy it without what follows"
    WRONG_CHECKSUM = "this invite has a wrong letter in it: copy it again instead of typing it"
    MALFORMED = "this invite was not made by this program, or by a newer version of it"
    FORGED = "this invite is forged: its issuer did not sign it"
    EXPIRED = "this invite has expired: ask for a new one"
    OTHER_FEDERATION = "this invite is for another federation"


class InviteError(ValueError):
    """The invite can't be used. The text is the fault's sentence."""

    def __init__(self, fault: InviteFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Invite(Wire, frozen=True):
    """The right of whoever shows it first to join as an observer, until `expires_ms`.

    `invite_id` is random; `addresses` are the issuer's.
    """

    invite_id: Bytes32
    issuer: Bytes32
    federation: Bytes32
    expires_ms: Natural
    addresses: Annotated[
        tuple[Multiaddr, ...], msgspec.Meta(min_length=1, max_length=MAX_ADDRESSES)
    ]
    signature: Bytes64

    def __str__(self) -> str:
        """The one string form, about 450 letters with two addresses."""
        return _written(encode(self))


def issue_invite(
    signer: Signer,
    *,
    federation: Digest,
    invite_id: bytes,
    expires_ms: int,
    addresses: tuple[str, ...],
) -> Invite:
    """Sign an invite of our own.

    `invite_id` is 32 random bytes, `addresses` are 1 to 8 that the newcomer can dial. Raises
    `ValueError` when a bound is broken.
    """
    unsigned = Invite(invite_id, signer.public, federation, expires_ms, addresses, bytes(64))
    invite = msgspec.structs.replace(unsigned, signature=signer.sign(_signing_bytes(unsigned)))
    return decode_canonical(encode(invite), Invite)


def is_invite(text: str) -> bool:
    """Whether this is meant as an invite; what else a user may give is a multiaddr."""
    return _joined(text).startswith(PREFIX)


def parse_invite(text: str) -> Invite:
    """Read the string; blanks and line breaks in it don't matter. Raises `InviteError`.

    Upper case is as good as lower case, a mixture is not. Nothing is known yet of the signature,
    the expiry and the federation: ask `invite_fault`.
    """
    joined = _joined(text)
    if not joined.startswith(PREFIX) or len(joined) > _MAX_LETTERS:
        raise InviteError(InviteFault.NOT_AN_INVITE)
    letters = joined.removeprefix(PREFIX)
    if not set(letters) <= _LETTERS:
        raise InviteError(InviteFault.WRONG_CHECKSUM)
    framed = _unarmoured(letters)
    length = int.from_bytes(framed[:_LENGTH_BYTES])
    if len(framed) < _FRAME_BYTES or len(framed) < length + _FRAME_BYTES:
        raise InviteError(InviteFault.CUT)
    if len(framed) > length + _FRAME_BYTES:
        raise InviteError(InviteFault.TOO_LONG)
    body = framed[_LENGTH_BYTES:-_CHECKSUM_BYTES]
    if _armoured(_framed(body)) != letters:
        raise InviteError(InviteFault.WRONG_CHECKSUM)
    try:
        return decode_canonical(body, Invite)
    except DecodeError:
        raise InviteError(InviteFault.MALFORMED) from None


def invite_fault(
    invite: Invite, *, verifier: Verifier, now_ms: int, federation: Digest | None = None
) -> InviteFault | None:
    """Why a parsed invite is no good now; `federation` is ours if we have one already."""
    if not verifier.verify(invite.issuer, _signing_bytes(invite), invite.signature):
        return InviteFault.FORGED
    if federation is not None and invite.federation != federation:
        return InviteFault.OTHER_FEDERATION
    if now_ms >= invite.expires_ms:
        return InviteFault.EXPIRED
    return None


def _signing_bytes(invite: Invite) -> bytes:
    return signing_bytes(
        "invite",
        Digest(invite.federation),
        invite.invite_id,
        invite.issuer,
        invite.expires_ms,
        invite.addresses,
    )


def _joined(text: str) -> str:
    joined = "".join(text.split())
    return joined.lower() if joined.isupper() else joined


def _framed(body: bytes) -> bytes:
    sized = len(body).to_bytes(_LENGTH_BYTES) + body
    return sized + digest(b"invite", sized)[:_CHECKSUM_BYTES]


def _armoured(framed: bytes) -> str:
    return base64.b32encode(framed).decode().rstrip("=").lower()


def _unarmoured(letters: str) -> bytes:
    """The bytes of as many letters as make whole ones; the caller compares with the spelling."""
    padded = letters + "=" * (-len(letters) % 8)
    try:
        return base64.b32decode(padded, casefold=True)
    except binascii.Error:
        # One, three or six letters over: no writer ends there.
        return _unarmoured(letters[:-1])


def _written(body: bytes) -> str:
    return PREFIX + _armoured(_framed(body))
