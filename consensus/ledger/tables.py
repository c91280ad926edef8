"""The ledger's tables: each a one-byte prefix and a kind of value."""

from __future__ import annotations

from typing import Any

from consensus.ledger.records import (
    Account,
    Candidacy,
    InForce,
    KeyRecord,
    Member,
    Offering,
    Registration,
    Reputation,
    StakeRecord,
    Task,
    TaskGroup,
    UsedInvite,
    Word,
)
from consensus.ledger.state import Table
from consensus.quorum import ValidatorSet

ACCOUNTS = Table(b"a", Account)
MEMBERS = Table(b"m", Member)
INVITES = Table(b"i", UsedInvite)
CANDIDATES = Table(b"c", Candidacy)
TASKS = Table(b"t", Task)
VALIDATORS = Table(b"v", ValidatorSet)
STAKES = Table(b"s", StakeRecord)
REGISTRATIONS = Table(b"r", Registration)
KEYS = Table(b"k", KeyRecord)
IN_FORCE = Table(b"p", InForce)
WORDS = Table(b"w", Word)
REPUTATION = Table(b"q", Reputation)
GROUPS = Table(b"g", TaskGroup)
OFFERINGS = Table(b"o", Offering)

THE_ONE = b""
"""The only id in `VALIDATORS`, the set that will vote after the block, and in `IN_FORCE`."""

PROVABLE: dict[str, Table[Any]] = {
    "task": TASKS,
    "task-group": GROUPS,
    "member": MEMBERS,
    "stake": STAKES,
    "registration": REGISTRATIONS,
    "reputation": REPUTATION,
    "voting-key": KEYS,
    "offering": OFFERINGS,
    "validators": VALIDATORS,
    "parameters": IN_FORCE,
}
"""What callers may ask a proof of, by the name that they use; accounts have a receipt of their own."""

LISTED: dict[str, Table[Any]] = {"account": ACCOUNTS, **PROVABLE}
"""What several of may be proven at once, for lists."""

SINGLE = frozenset({"validators", "parameters"})
"""Those with one record, under `THE_ONE`."""
