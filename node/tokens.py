"""Tokens for other programs: what each may do in the node's name, and how often it may ask.

The owner's own token may do everything. These may do what their scopes name. They are kept in the file `tokens.json` of
the home (mode 0600), as hashes: whoever reads the file can't use them.
"""

from __future__ import annotations

import re
import secrets
import stat
from enum import Enum
from hashlib import sha256
from pathlib import Path

import msgspec

from node.errors import NodeError
from node.storage.durable import PRIVATE, replace_file

MAX_TOKENS = 100
MAX_QUOTA_PER_S = 1_000_000
NAME_FORM = "^[a-z0-9][a-z0-9-]{0,31}$"
OWNER = "owner"
_SECRET_BYTES = 32


class TokenScope(Enum):
    """What a token may do, by the paths that it may use; without any it may only read."""

    PAY = "pay"
    """Transfers from the node's account."""
    TASKS = "tasks"
    """Tasks, groups of tasks and spreads, with their rewards; the queue."""
    CONTENTS = "contents"
    """Contents and topics."""
    OPERATE = "operate"
    """Everything else but tokens: members, validators, model servers, snapshots, the daemon's end."""


_SCOPES = {
    "transfers": TokenScope.PAY,
    "tasks": TokenScope.TASKS,
    "task-groups": TokenScope.TASKS,
    "offerings": TokenScope.TASKS,
    "spreads": TokenScope.TASKS,
    "queue": TokenScope.TASKS,
    "contents": TokenScope.CONTENTS,
    "topics": TokenScope.CONTENTS,
    "tokens": None,
}


def scope_of(path: str) -> TokenScope | None:
    """The scope that a path of the HTTP interface needs; None: the owner alone."""
    return _SCOPES.get(path.removeprefix("/api/v2/").partition("/")[0], TokenScope.OPERATE)


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token, without its secret."""

    name: str
    hash: str
    scopes: tuple[TokenScope, ...]
    quota_per_s: int | None
    """None: as everybody's."""
    created_ms: int


class TokenError(NodeError):
    """Something is wrong with a token, or with their file."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Tokens:
    """All tokens of a home. Raises `TokenError` if the file is damaged or others can read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_hash = {one.hash: one for one in _read(path)}

    def all(self) -> list[Token]:
        """In the order in which they were made."""
        return sorted(self._by_hash.values(), key=lambda one: (one.created_ms, one.name))

    def find(self, secret: bytes) -> Token | None:
        """The token whose secret this is."""
        return self._by_hash.get(_hash(secret))

    def create(
        self, name: str, scopes: tuple[TokenScope, ...], quota_per_s: int | None, now_ms: int
    ) -> tuple[Token, str]:
        """A new token and its secret, which is nowhere kept. Raises `TokenError`."""
        if not re.fullmatch(NAME_FORM, name) or name == OWNER:
            raise TokenError(
                "bad_name",
                "name: must be 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit, "
                f"and not {OWNER!r}",
            )
        if any(one.name == name for one in self._by_hash.values()):
            raise TokenError(
                "name_taken", f"there is a token {name!r} already; revoke it, or take another name"
            )
        if len(self._by_hash) >= MAX_TOKENS:
            raise TokenError("too_many", f"a node has at most {MAX_TOKENS} tokens; revoke one")
        secret = secrets.token_hex(_SECRET_BYTES)
        token = Token(name, _hash(secret.encode()), scopes, quota_per_s, now_ms)
        self._save({**self._by_hash, token.hash: token})
        return token, secret

    def revoke(self, name: str) -> None:
        """It is worth nothing from now on. Raises `TokenError`."""
        left = {key: one for key, one in self._by_hash.items() if one.name != name}
        if len(left) == len(self._by_hash):
            raise TokenError("unknown_token", f"there is no token named {name[:64]!r}")
        self._save(left)

    def _save(self, tokens: dict[str, Token]) -> None:
        content = msgspec.json.format(msgspec.json.encode(list(tokens.values())))
        replace_file(self._path, content + b"\n", PRIVATE)
        self._by_hash = tokens


def _hash(secret: bytes) -> str:
    """The secret has 256 random bits, so a plain hash can't be guessed back."""
    return sha256(secret).hexdigest()


def _read(path: Path) -> list[Token]:
    try:
        mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TokenError(
            "bad_tokens", f"{path} cannot be read ({error.strerror}); check who owns it"
        ) from None
    if mode & 0o077:
        raise TokenError(
            "bad_tokens",
            f"{path} can be read by others (mode {mode:04o}); type: chmod 600 {path}",
        )
    try:
        return msgspec.json.decode(content, type=list[Token])
    except msgspec.DecodeError as error:
        raise TokenError(
            "bad_tokens",
            f"{path} is damaged ({error}); remove it, and make the tokens anew with "
            "`bizra-node token create`",
        ) from None
