"""One node's folder: what lies where, who may open it, and how the command line finds the daemon.

identity.key  voting.key   private keys, mode 0600; voting.key.next and .last-* around a rotation
public-keys                whose home this is
token                      the owner's token for the HTTP interface, mode 0600
config.toml                what the owner chose
genesis.json               the federation that this node belongs to
chain/  votes/  pool/  peers/  tasks/  work/   databases; each has one opener, the daemon that holds `lock`
answers/  shared/          what is kept of models' answers, and those that other nodes share
content/                   what members fetch from each other, named by its hash
audit/                     the copy of the chain that `audit` and `--audited` compare with; may be deleted
log                        what the daemon wrote
api.json                   where the running daemon listens; gone when it ends well
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import msgspec

from node.errors import NodeError
from node.storage.durable import create_file, replace_file

_DEFAULT = Path("~/.bizra")
_TOKEN_BYTES = 32


class HomeError(NodeError):
    """A home can't be used; the text names it and what to do."""


class ApiFile(msgspec.Struct, frozen=True):
    """What the running daemon leaves for others: its process, HTTP address and multiaddrs."""

    pid: int
    host: str
    port: int
    addresses: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where the HTTP interface is, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def default_home() -> Path:
    """The folder that `BIZRA_HOME` names, or ~/.bizra."""
    return Path(os.environ.get("BIZRA_HOME") or _DEFAULT).expanduser()


@dataclass(frozen=True, slots=True)
class Home:
    """A node's folder. Making this object touches nothing; `create` makes the folder."""

    path: Path

    @property
    def identity_key(self) -> Path:
        return self.path / "identity.key"

    @property
    def voting_key(self) -> Path:
        return self.path / "voting.key"

    @property
    def next_voting_key(self) -> Path:
        return self.path / "voting.key.next"

    def retired_voting_key(self, name: str) -> Path:
        """Where a key that was rotated away is kept."""
        return self.path / f"voting.key.last-{name}"

    def retired_voting_keys(self) -> list[Path]:
        """Those that are kept; before there could be several, the one was called `voting.key.last`."""
        return sorted(self.path.glob("voting.key.last*"))

    @property
    def public_keys(self) -> Path:
        return self.path / "public-keys"

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def genesis(self) -> Path:
        return self.path / "genesis.json"

    @property
    def token(self) -> Path:
        return self.path / "token"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens.json"

    @property
    def chain(self) -> Path:
        return self.path / "chain"

    @property
    def votes(self) -> Path:
        return self.path / "votes"

    @property
    def observer_votes(self) -> Path:
        return self.path / "votes-observer"

    @property
    def votes_replaced(self) -> Path:
        return self.path / "votes.replaced"

    @property
    def peers(self) -> Path:
        return self.path / "peers"

    @property
    def pool(self) -> Path:
        return self.path / "pool"

    @property
    def tasks(self) -> Path:
        return self.path / "tasks"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def content(self) -> Path:
        return self.path / "content"

    @property
    def projections(self) -> Path:
        return self.path / "projections"

    @property
    def gateway(self) -> Path:
        return self.path / "gateway"

    @property
    def answers(self) -> Path:
        return self.path / "answers"

    @property
    def shared(self) -> Path:
        return self.path / "shared"

    @property
    def backends(self) -> Path:
        return self.path / "backends.toml"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def api(self) -> Path:
        return self.path / "api.json"

    @property
    def is_initialised(self) -> bool:
        """Whether the home has an identity, whatever else may be missing."""
        return self.identity_key.exists()

    def create(self) -> None:
        """Make the folder (mode 0700) and the owner's token, if they are not there."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.token.exists():
                create_file(self.token, f"{token_hex(_TOKEN_BYTES)}\n".encode())
        except OSError as error:
            raise HomeError(
                f"the home {self.path} cannot be made ({error.strerror}); "
                "choose another with --home DIR"
            ) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for this process; the daemon does so for its whole life.

        Raises `HomeError` if another process holds it.
        """
        descriptor = self._open_lock()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise HomeError(
                    f"the home {self.path} is already in use by the daemon with pid "
                    f"{holder or 'unknown'}; stop that one first, or choose another with --home DIR"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        try:
            return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HomeError(
                f"the home {self.path} cannot be locked ({error.strerror}); "
                "make it with `bizra-node init`, or check who owns it"
            ) from None

    def read_token(self) -> str:
        """The owner's token. Raises `HomeError` if it is missing or others can read it."""
        try:
            mode = stat.S_IMODE(self.token.stat().st_mode)
            token = self.token.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise HomeError(
                f"the owner's token {self.token} is missing or cannot be read; "
                "it is made anew when the daemon starts"
            ) from None
        if mode & 0o077:
            raise HomeError(
                f"{self.token} can be read by others (mode {mode:04o}); "
                f"type: chmod 600 {self.token}"
            )
        if len(token) != 2 * _TOKEN_BYTES:
            raise HomeError(f"{self.token} is damaged; delete it and start the daemon again")
        return token

    def write_api(self, where: ApiFile) -> None:
        """Tell the command line where the daemon listens."""
        replace_file(self.api, msgspec.json.encode(where) + b"\n")

    def read_api(self) -> ApiFile | None:
        """Where the daemon said that it listens, or None; it may have died since."""
        try:
            return msgspec.json.decode(self.api.read_bytes(), type=ApiFile)
        except (OSError, msgspec.DecodeError):
            return None

    def clear_api(self) -> None:
        """The daemon ends."""
        self.api.unlink(missing_ok=True)
