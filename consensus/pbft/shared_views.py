"""A NEW-VIEW as it lies on disk: hundreds of VIEW-CHANGEs show the same few certificates, and each is written once.

Whole, that of 500 validators would be up to 33 MB, synced before the first vote of the view.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from consensus.certificates import Certificate
from consensus.messages import NewView, PreparedProof, ViewChange
from consensus.quorum import MAX_VALIDATORS
from gossip.codec import Bytes32, Bytes64, DecodeError, Natural, Wire


class SharedChange(Wire, frozen=True):
    """A VIEW-CHANGE that shows what stands at these places."""

    committed: Natural | None
    prepared: Natural | None
    voter: Bytes32
    signature: Bytes64


class SharedNewView(Wire, frozen=True, tag="shared_new_view"):
    """The whole of a NEW-VIEW, with nothing in it twice."""

    epoch: Natural
    view: Natural
    committed: Annotated[tuple[Certificate, ...], msgspec.Meta(max_length=MAX_VALIDATORS)]
    prepared: Annotated[tuple[PreparedProof, ...], msgspec.Meta(max_length=MAX_VALIDATORS)]
    changes: Annotated[tuple[SharedChange, ...], msgspec.Meta(max_length=MAX_VALIDATORS)]
    voter: Bytes32
    signature: Bytes64

    def whole(self) -> NewView:
        """As it was. Raises `DecodeError` if something is named that does not stand here."""
        try:
            changes = tuple(
                ViewChange(
                    self.epoch,
                    self.view,
                    None if one.committed is None else self.committed[one.committed],
                    None if one.prepared is None else self.prepared[one.prepared],
                    one.voter,
                    one.signature,
                )
                for one in self.changes
            )
        except IndexError:
            raise DecodeError("a stored new view names what it does not hold") from None
        return NewView(self.epoch, self.view, changes, self.voter, self.signature)


def shared(message: NewView) -> SharedNewView:
    """What to write of a NEW-VIEW whose VIEW-CHANGEs are all for its own epoch and view, as in every valid one."""
    committed: dict[Certificate, int] = {}
    prepared: dict[PreparedProof, int] = {}
    changes = tuple(
        SharedChange(
            None if one.committed is None else committed.setdefault(one.committed, len(committed)),
            None if one.prepared is None else prepared.setdefault(one.prepared, len(prepared)),
            one.voter,
            one.signature,
        )
        for one in message.view_changes
    )
    return SharedNewView(
        message.epoch,
        message.view,
        tuple(committed),
        tuple(prepared),
        changes,
        message.voter,
        message.signature,
    )
