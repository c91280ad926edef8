"""The voting key on disk: held by one process on this machine, and changed by a rotation.

A rotation makes `voting.key.next` first, then asks the ledger. Once the ledger names that key, it takes the place of
`voting.key`. Whatever moment a crash hits, the next start finds both files, or one and its name in `public-keys`.

An old key stays as `voting.key.last-` and the beginning of its public half until what it decided is certified: the
STATE votes for its last blocks are still its own to give, and after a crash the others may wait for just these. It goes
at the next start or rotation after that; a rotation that would leave more than `MOST_RETIRED` of them has to wait.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gossip.identity import Ed25519Signer, PublicKey
from node.errors import NodeError
from node.storage.durable import PRIVATE, PUBLIC, replace_file, sync_folder
from node.storage.home import Home, HomeError
from node.storage.keyfile import Purpose, create_key, load_key

MOST_RETIRED: Final = 8
_NAMED_BY: Final = 16
"""So many hex digits of its public half name the file of an old key."""


@contextmanager
def held(public: bytes) -> Iterator[None]:
    """Hold a voting key for this process, whatever home it lies in: copies of a home share the machine's lock.

    Raises `HomeError` if another process holds it.
    """
    path = Path(tempfile.gettempdir()) / f"bizra-node-{public.hex()}.lock"
    descriptor = _opened(path, public)
    try:
        while True:
            _lock(descriptor, public)
            if _is_at(path, descriptor):
                break
            # Its holder took the file away between our opening and locking it: a third one would not see our lock.
            stale, descriptor = descriptor, _opened(path, public)
            os.close(stale)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _opened(path: Path, public: bytes) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeError(
            f"the lock {path} of the voting key {public.hex()[:12]} can't be opened "
            f"({error.strerror}): another user of this machine may run this validator"
        ) from None


def _lock(descriptor: int, public: bytes) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        raise HomeError(
            f"the voting key {public.hex()[:12]} is in use on this machine already, by the "
            f"process {holder or 'unknown'}, from another home: a copy of a home must not run "
            "beside the original, or this validator would contradict itself. Stop that one, or "
            "begin a new home with `bizra-node init`"
        ) from None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def next_key(home: Home) -> Ed25519Signer | None:
    """The key that a rotation under way wants, or None. Raises `KeyFileError`."""
    path = home.next_voting_key
    return load_key(path, Purpose.VOTING) if path.exists() else None


def prepare_rotation(home: Home) -> Ed25519Signer:
    """The key to change to: the one of a rotation that was begun, or a fresh one. Raises `KeyFileError`."""
    return next_key(home) or create_key(home.next_voting_key, Purpose.VOTING)


def retired_keys(home: Home) -> list[Ed25519Signer]:
    """The keys of before that may still be needed. Raises `KeyFileError`."""
    return [load_key(path, Purpose.VOTING) for path in home.retired_voting_keys()]


def forget_retired(home: Home) -> list[PublicKey]:
    """All that the keys of before decided is certified: nobody needs them any more. Which they were."""
    former = [key.public for key in retired_keys(home)]
    for path in home.retired_voting_keys():
        path.unlink(missing_ok=True)
    return former


def finish_rotation(home: Home, identity: bytes, voting: bytes) -> None:
    """The ledger names the next key: let its file take the place of the old one. Doing it twice is fine."""
    pending = next_key(home)
    if pending is None or pending.public != voting:
        return
    try:
        _retire(home)
        text = f"identity {identity.hex()}\nvoting {voting.hex()}\n"
        replace_file(home.public_keys, text.encode(), PUBLIC)
        home.next_voting_key.replace(home.voting_key)
        sync_folder(home.path)
    except OSError as error:
        raise NodeError(
            f"{home.next_voting_key} can't take the place of {home.voting_key} "
            f"({error.strerror}); check the disk, and start again"
        ) from None


def _retire(home: Home) -> None:
    """Keep a copy of the present key. After a crash in the middle it is made again under the same name."""
    former = load_key(home.voting_key, Purpose.VOTING).public.hex()
    path = home.retired_voting_key(former[:_NAMED_BY])
    replace_file(path, home.voting_key.read_bytes(), PRIVATE)
