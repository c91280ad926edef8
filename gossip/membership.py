"""Who is in the federation, where, and whether it is there: one core, `handle(now_ms, event)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gossip.codec import Digest
from gossip.effects import KeyValueReader
from gossip.events import MembershipEffect, MembershipEvent
from gossip.identity import NodeId, Signer, Verifier
from gossip.notices import Applicant, PeerEntry
from gossip.records import Capability, SignedRecord


@dataclass(frozen=True, slots=True)
class Profile:
    """What a node says of itself at the start. `load` is per mille."""

    name: str
    addresses: tuple[str, ...]
    capabilities: tuple[Capability, ...]
    load: int
    voting_key: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in milliseconds."""

    beat_ms: int = 1_000
    suspect_ms: int = 2_500
    dead_ms: int = 5_000
    drop_ms: int = 15_000
    refresh_ms: int = 30_000
    pull_ms: int = 10_000
    spread_ms: int = 50


class Membership:
    """Membership of one node, in its federation or (with `genesis` None) looking for one.

    `admitted` is the ledger's word on a node: its role, or None. `jitter` returns numbers from 0 to
    1 that spread the dials of many nodes. `nonce` is a random number to count on from. `store` is
    `Store.PEERS`. Raises `RecordError` when the profile breaks a bound, and `DecodeError` when the
    store is damaged.
    """

    def __init__(
        self,
        *,
        profile: Profile,
        signer: Signer,
        verifier: Verifier,
        genesis: bytes | None,
        admitted: Callable[[NodeId], str | None],
        store: KeyValueReader,
        jitter: Callable[[], float],
        nonce: int,
        timing: Timing | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def federation(self) -> Digest | None:
        """The id of our federation, if we have one."""
        raise NotImplementedError

    @property
    def own_record(self) -> SignedRecord | None:
        """What we last said of ourselves; None without a federation."""
        raise NotImplementedError

    def is_member(self, peer: NodeId) -> bool:
        """Whether this peer may use what only members may use.

        So may who is admitted by the ledger, who showed an invite of ours, and, while our own
        ledger does not know us as admitted, the peers that we were told to join by.
        """
        raise NotImplementedError

    def table(self) -> tuple[PeerEntry, ...]:
        """All other members that we know, in the order of their ids."""
        raise NotImplementedError

    def applicants(self) -> tuple[Applicant, ...]:
        """Who waits to be let in, oldest first."""
        raise NotImplementedError

    def candidates(self, capability: str) -> tuple[PeerEntry, ...]:
        """Alive, connected members that have it, best first: free, least loaded, cheap, near."""
        raise NotImplementedError

    def handle(self, now_ms: int, event: MembershipEvent) -> list[MembershipEffect]:
        """Take one event; the effects are carried out in order. `now_ms` never goes back."""
        raise NotImplementedError

    def check_invariants(self) -> None:
        """Assert what must always hold; a failure is a bug."""
        raise NotImplementedError
