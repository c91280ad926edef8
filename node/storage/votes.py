"""Opening the votes database: whole, or set aside, and then this node only observes.

A validator whose log of votes is damaged or lost can't know what it has promised. It says so, leaves the log as it is
for whoever looks into it, keeps what an observer needs in a database beside it, and does not vote with that key again.
Once the voting key is rotated, a fresh log begins: the new key has promised nothing.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack

from gossip.effects import KeyValueReader
from node.errors import NodeError
from node.storage.durable import create_file
from node.storage.home import Home
from node.storage.sealed_store import SealedStore, check_note
from node.storage.store import LevelStore, StoreError, StoreFault


def open_votes(
    home: Home, chain: KeyValueReader, voting_key: bytes, stack: ExitStack
) -> tuple[SealedStore, str | None]:
    """The database to write votes to, and why this node must not vote with its present key, or None.

    Raises `StoreError` if another process has it open, or the disk fails.
    """
    _take_fresh(home)
    try:
        with ExitStack() as attempt:
            votes = SealedStore(attempt.enter_context(LevelStore(home.votes, packed=False)))
            check_note(votes, chain, (voting_key,))
            stack.enter_context(attempt.pop_all())
            return votes, None
    except StoreError as error:
        if error.fault not in (StoreFault.DAMAGED, StoreFault.MISSING):
            raise
        reason = str(error)
    shutil.rmtree(home.observer_votes, ignore_errors=True)
    disk = stack.enter_context(LevelStore(home.observer_votes, create=True, packed=False))
    return SealedStore(disk), reason


def begin_fresh(home: Home) -> None:
    """The key was rotated while the log was set aside: the next start goes on with the database beside it."""
    if home.observer_votes.exists() and not home.votes_replaced.exists():
        create_file(home.votes_replaced, b"")


def _take_fresh(home: Home) -> None:
    if not home.votes_replaced.exists():
        return
    try:
        if home.observer_votes.exists():
            if home.votes.exists():
                home.votes.rename(_free_name(home))
            home.observer_votes.rename(home.votes)
        home.votes_replaced.unlink()
    except OSError as error:
        raise NodeError(
            f"the fresh log of votes {home.observer_votes} can't take the place of {home.votes} "
            f"({error.strerror}); check the disk, and start again"
        ) from None


def _free_name(home: Home) -> str:
    names = (home.path / f"votes-damaged-{number}" for number in range(1, 1000))
    return str(next(name for name in names if not name.exists()))
