"""Private keys on disk: one Ed25519 seed in a small text file that only its owner may read.

    bizra-node identity key, version 1. Keep this file secret; whoever has it is this node.
    public: 64 hex digits
    seed: 64 hex digits

The public key stands beside the seed so that a damaged or mixed-up file is noticed at once.
"""

from __future__ import annotations

import os
import re
import stat
from enum import Enum
from pathlib import Path
from secrets import token_bytes

from gossip.identity import SEED_BYTES, Ed25519Signer
from node.errors import NodeError
from node.storage.durable import create_file

_MAX_BYTES = 4096
_FORM = re.compile(
    rb"bizra-node (?P<purpose>[a-z]+) key, version 1\.[^\n]*\n"
    rb"public: (?P<public>[0-9a-f]{64})\nseed: (?P<seed>[0-9a-f]{64})\n"
)


class KeyFileError(NodeError):
    """A key file can't be used; the text names it and what to do, and never shows the seed."""


class Purpose(Enum):
    """What a key is for. A file made for the one is refused for the other."""

    IDENTITY = "identity"
    VOTING = "voting"


_WARNINGS = {
    Purpose.IDENTITY: "Keep this file secret; whoever has it is this node.",
    Purpose.VOTING: "Keep this file secret; whoever has it votes for this node.",
}


def create_key(path: Path, purpose: Purpose) -> Ed25519Signer:
    """A new random key in a new file. Raises `KeyFileError` rather than replace one."""
    signer = Ed25519Signer(token_bytes(SEED_BYTES))
    text = (
        f"bizra-node {purpose.value} key, version 1. {_WARNINGS[purpose]}\n"
        f"public: {signer.public.hex()}\nseed: {signer.seed.hex()}\n"
    )
    try:
        create_file(path, text.encode())
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; it is kept as it is") from None
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be written ({error.strerror}); check the folder"
        ) from None
    return signer


def load_key(path: Path, purpose: Purpose) -> Ed25519Signer:
    """The key in a file. Raises `KeyFileError`: missing, readable by others, damaged, foreign."""
    content = _read_private(path, purpose)
    match = _FORM.fullmatch(content)
    remedy = "put back your copy of it"
    if match is None:
        raise KeyFileError(f"{path} is damaged, or no key file of bizra-node; {remedy}")
    if match["purpose"] != purpose.value.encode():
        found = match["purpose"].decode()
        raise KeyFileError(
            f"{path} holds a key of kind {found!r} where {purpose.value!r} is needed; {remedy}"
        )
    signer = Ed25519Signer(bytes.fromhex(match["seed"].decode()))
    if signer.public.hex().encode() != match["public"]:
        raise KeyFileError(f"{path} is damaged: its seed does not make its public key; {remedy}")
    return signer


def _read_private(path: Path, purpose: Purpose) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_access(path, os.fstat(descriptor))
            content = file.read(_MAX_BYTES)
    except FileNotFoundError:
        raise KeyFileError(
            f"{path} is missing: this home has no {purpose.value} key; put back your copy of it, "
            "or make a new node with `bizra-node init` in an empty home"
        ) from None
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read ({error.strerror}); check that it is a file of yours"
        ) from None
    return content


def _check_access(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is no regular file; put back your copy of the key")
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"{path} belongs to another user (uid {status.st_uid}); "
            f"run as that user, or type: sudo chown {os.geteuid()} {path}"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyFileError(
            f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"type: chmod 600 {path}"
        )
