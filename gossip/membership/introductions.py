"""By what this node was told to join: addresses, and invites of others. Kept on disk."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gossip.codec import Digest, Wire, decode_canonical, encode
from gossip.effects import KeyValueReader, Write
from gossip.identity import NodeId
from gossip.membership.dialer import MAX_BOOTSTRAPS
from gossip.membership.invites import Invite
from gossip.membership.records import Multiaddr

MAX_INVITES = 8
_KEY = b"own/introductions"


class _Stored(Wire, frozen=True):
    addresses: Annotated[tuple[Multiaddr, ...], msgspec.Meta(max_length=MAX_BOOTSTRAPS)]
    invites: Annotated[tuple[Invite, ...], msgspec.Meta(max_length=MAX_INVITES)]


class Introductions:
    """Reads what was kept; beyond the bounds the oldest are forgotten.

    Raises `DecodeError` when it is damaged.
    """

    def __init__(self, store: KeyValueReader) -> None:
        kept = store.get(_KEY)
        stored = _Stored((), ()) if kept is None else decode_canonical(kept, _Stored)
        self.addresses = stored.addresses
        self._invites = stored.invites

    def add(self, addresses: tuple[str, ...], invite: Invite | None) -> tuple[Write, ...]:
        """Take these too. Raises `ValueError` for an address that is no multiaddr."""
        for address in addresses:
            _check(address)
        invites = () if invite is None else (invite,)
        told = (*addresses, *(address for invite in invites for address in invite.addresses))
        merged = _Stored(
            tuple(dict.fromkeys((*self.addresses, *told)))[-MAX_BOOTSTRAPS:],
            tuple(dict.fromkeys((*self._invites, *invites)))[-MAX_INVITES:],
        )
        self.addresses, self._invites = merged.addresses, merged.invites
        return self._writes()

    def drop_invites(self, now_ms: int, *, admitted: bool) -> tuple[Write, ...]:
        """Forget those that have expired; all of them if this node is admitted."""
        left = tuple(
            invite for invite in self._invites if now_ms < invite.expires_ms and not admitted
        )
        if left == self._invites:
            return ()
        self._invites = left
        return self._writes()

    def federation(self) -> Digest | None:
        """The federation that the invites are for, if there are any."""
        return Digest(self._invites[0].federation) if self._invites else None

    def invite_by(self, issuer: NodeId) -> Invite | None:
        """The newest invite of this issuer; nobody else may see it."""
        issued = (invite for invite in reversed(self._invites) if invite.issuer == issuer)
        return next(issued, None)

    def _writes(self) -> tuple[Write, ...]:
        return ((_KEY, encode(_Stored(self.addresses, self._invites))),)


def _check(address: str) -> None:
    try:
        msgspec.convert(address, Multiaddr)
    except msgspec.ValidationError:
        shown = repr(address[:80])
        raise ValueError(f"{shown} is not a multiaddr such as /ip4/192.168.1.5/tcp/7430") from None
