"""The invites of ours that were shown, and by whom: what makes them single use.

They are kept on disk until they expire. Until the ledger has admitted the one who showed an invite,
or the invite expires, the invite is what lets it in.
"""

from __future__ import annotations

from gossip.codec import Bytes32, Natural, Wire, decode_canonical, encode
from gossip.effects import KeyValueReader, Write
from gossip.identity import NodeId
from gossip.membership.invites import Invite

MAX_USED_INVITES = 4096
_PREFIX = b"invite/"


class _Used(Wire, frozen=True):
    """An invite's one user. Once `settled` the ledger's word counts instead."""

    node: Bytes32
    expires_ms: Natural
    settled: bool


class UsedInvites:
    """Reads what was kept. Raises `DecodeError` when it is damaged."""

    def __init__(self, store: KeyValueReader) -> None:
        self._used = {
            key.removeprefix(_PREFIX): decode_canonical(value, _Used)
            for key, value in store.scan(_PREFIX)
        }
        self._held = {
            NodeId(used.node): invite_id
            for invite_id, used in self._used.items()
            if not used.settled
        }

    def invite_of(self, now_ms: int, node: NodeId) -> bytes | None:
        """The id of the invite by which the node is let in for now, if any."""
        invite_id = self._held.get(node)
        if invite_id is None or now_ms >= self._used[invite_id].expires_ms:
            return None
        return invite_id

    def present(self, now_ms: int, node: NodeId, invite: Invite) -> str | tuple[Write, ...]:
        """Take a valid invite of ours: why not, or what to write before it counts."""
        used = self._used.get(invite.invite_id)
        if used is not None:
            return () if used.node == node else "this invite has been used: ask for a new one"
        swept = self.sweep(now_ms)
        if len(self._used) >= MAX_USED_INVITES:
            return "too many invites are in use here: try again later"
        self._used[invite.invite_id] = _Used(node, invite.expires_ms, settled=False)
        self._held[node] = invite.invite_id
        return (*swept, self._write(invite.invite_id))

    def settle(self, node: NodeId) -> tuple[Write, ...]:
        """The ledger has admitted the node."""
        invite_id = self._held.pop(node, None)
        if invite_id is None:
            return ()
        self._used[invite_id] = _Used(node, self._used[invite_id].expires_ms, settled=True)
        return (self._write(invite_id),)

    def sweep(self, now_ms: int) -> tuple[Write, ...]:
        """Forget what has expired."""
        expired = [key for key, used in self._used.items() if now_ms >= used.expires_ms]
        for invite_id in expired:
            del self._used[invite_id]
        self._held = {node: held for node, held in self._held.items() if held in self._used}
        return tuple((_PREFIX + invite_id, None) for invite_id in expired)

    def check_invariants(self) -> None:
        """Bounds hold, and who is let in is so by an invite."""
        assert len(self._used) <= MAX_USED_INVITES
        for node, invite_id in self._held.items():
            used = self._used[invite_id]
            assert used.node == node
            assert not used.settled

    def _write(self, invite_id: bytes) -> Write:
        return (_PREFIX + invite_id, encode(self._used[invite_id]))
