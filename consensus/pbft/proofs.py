"""What VIEW-CHANGEs show, by hash: in a large set most show the same certificates, and so they only name them."""

from __future__ import annotations

from consensus.certificates import Certificate
from consensus.messages import PreparedProof, ViewChange, ViewChangeNames, proof_name
from gossip.codec import Digest

_MAX_PROOFS = 64
"""Of up to 50 kB each."""


class Proofs:
    """Some that hold; the oldest make room for new ones."""

    __slots__ = ("_by_name", "_hashed")

    def __init__(self) -> None:
        self._by_name: dict[Digest, Certificate | PreparedProof] = {}
        self._hashed: tuple[Certificate | PreparedProof | None, ...] = ()

    def keep(self, proof: Certificate | PreparedProof) -> None:
        """Have it at hand under its name."""
        self._by_name[proof_name(proof)] = proof
        if len(self._by_name) > _MAX_PROOFS:
            del self._by_name[next(iter(self._by_name))]

    def look_at(self, *own: Certificate | PreparedProof | None) -> None:
        """Have at hand what this replica would show itself; hashed when it is another than the last time."""
        if len(own) == len(self._hashed) and all(
            one is other for one, other in zip(own, self._hashed, strict=True)
        ):
            return
        self._hashed = own
        for proof in own:
            if proof is not None:
                self.keep(proof)

    def whole(self, names: ViewChangeNames) -> ViewChange | None:
        """The VIEW-CHANGE, if all that it names is here."""
        committed, prepared = (
            None if name is None else self._by_name.get(Digest(name))
            for name in (names.committed, names.prepared)
        )
        if isinstance(committed, PreparedProof) or isinstance(prepared, Certificate):
            return None
        if (committed is None) != (names.committed is None):
            return None
        if (prepared is None) != (names.prepared is None):
            return None
        return ViewChange(
            names.epoch, names.view, committed, prepared, names.voter, names.signature
        )
