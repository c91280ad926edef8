"""What the owner of a node chooses: `config.toml`, and the flags that go over it.

Every key may be left out. An unknown key, or a value of the wrong kind, is an error that names file
and line and says what is allowed; nothing is guessed.
"""

from __future__ import annotations

import json
import platform
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from node.errors import NodeError
from node.models.servers import ModelServer, read_servers
from node.models.servers import to_toml as servers_to_toml
from node.storage.home import Home

DEFAULT_API_PORT = 7440
DEFAULT_QUOTA_PER_S = 2_000
DEFAULT_CLIENT_PARALLEL = 256
LOG_LEVELS = ("debug", "info", "warning", "error")
_MAX_NAME = 64
_MAX_IDLE_S = 24 * 60 * 60
_MAX_PORT = 65_535
_API_FORM = re.compile(r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>\d{1,5})")


class ConfigError(NodeError):
    """A setting can't be used; the text says where it stands and what is allowed."""


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the HTTP interface listens. Port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ApiAddress:
        """From HOST:PORT or [HOST]:PORT. Raises `ValueError` with a sentence."""
        match = _API_FORM.fullmatch(text)
        if match is None or int(match["port"]) > _MAX_PORT:
            raise ValueError(
                f"{text[:100]!r} is not HOST:PORT such as 127.0.0.1:{DEFAULT_API_PORT}"
            )
        return cls(match["ip6"] or match["host"], int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def default_name() -> str:
    """What other nodes call this one if its owner says nothing: the machine's name."""
    name = "".join(sign for sign in platform.node() if sign.isprintable()).strip()
    return name[:_MAX_NAME] or "node"


@dataclass(frozen=True, slots=True)
class Config:
    """A node's settings. `bootstrap` holds multiaddrs and invites as they were given.

    `kinds` are the task kinds that this node works on for others; `model_idle_s` is after how long
    without work the model's process ends. `contents_mb` bounds
    what is kept of contents, `send_mb_per_s` what is sent of them to all others together (0: no bound).
    `backend` are the model servers beside this node, and with `find_models` those on their usual ports; with
    `chat` among the kinds, members may ask them too. `chat_peers` says that conversations of this
    node's users may go to peers without being asked for each, `audit_per_cent` how many of peers' answers are looked
    at again where a server here has the same file; every `canary_every_s` seconds one peer is asked just for that (0:
    never). `shared_cache` is the secret of the nodes that share answers, 64 hex digits (empty: this one shares none).
    `quota_per_s` is how many requests the
    HTTP interface takes from one caller in a second, for good, `client_parallel` how many of one caller's the model
    servers work on at once (0: no bound).
    Up to `full_mesh_up_to` nodes each is connected with every other; among more each keeps `mesh_neighbours` that it
    chooses, and those that choose it.
    A snapshot is made every `snapshot_every` blocks, and taken by a node that is `snapshot_behind` behind (0: never).
    """

    name: str
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/7430",)
    bootstrap: tuple[str, ...] = ()
    api: ApiAddress = ApiAddress("127.0.0.1", DEFAULT_API_PORT)
    mdns: bool = True
    kinds: tuple[str, ...] = ("embed", "rank", "summarize", "answer", "chat")
    chat_peers: bool = False
    audit_per_cent: int = 10
    canary_every_s: int = 0
    shared_cache: str = ""
    model_idle_s: int = 120
    log_level: str = "info"
    contents_mb: int = 2048
    send_mb_per_s: int = 0
    quota_per_s: int = DEFAULT_QUOTA_PER_S
    client_parallel: int = DEFAULT_CLIENT_PARALLEL
    snapshot_every: int = 1000
    snapshot_behind: int = 5000
    backend: tuple[ModelServer, ...] = ()
    find_models: bool = True
    full_mesh_up_to: int = 50
    mesh_neighbours: int = 10


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `bizra-node run` was told: the home, the settings after all flags, how to begin.

    `found` names a federation to found, if the home belongs to none yet.
    """

    home: Home
    config: Config
    found: str | None = None


def load_config(path: Path) -> Config:
    """The settings in a file; the defaults if there is none. Raises `ConfigError`."""
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        return Config(default_name())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); check its permissions") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return _checked(values, lambda key: f"{path}, line {_line_of(key, text)}")


def with_flags(
    config: Config,
    *,
    listen: tuple[str, ...] = (),
    bootstrap: tuple[str, ...] = (),
    api: str | None = None,
    mdns: bool | None = None,
    name: str | None = None,
) -> Config:
    """The settings with those that were given on the command line. Raises `ConfigError`."""
    given: dict[str, object] = {
        "listen": list(listen) or None,
        "bootstrap": list(bootstrap) or None,
        "api": api,
        "mdns": mdns,
        "name": name,
    }
    values = {key: value for key, value in given.items() if value is not None}
    fresh = _checked(values, lambda key: f"--{key}")
    return replace(config, **{key: getattr(fresh, key) for key in values})


def to_toml(config: Config) -> str:
    """The file that says this; JSON's spelling of strings and lists is TOML's as well."""
    lines = []
    for field in fields(config):
        if field.name == "backend":
            continue
        value = getattr(config, field.name)
        plain = str(value) if isinstance(value, ApiAddress) else value
        lines.append(f"{field.name} = {json.dumps(plain, ensure_ascii=False)}\n")
    return "".join(lines) + servers_to_toml(config.backend)


def _checked(values: Mapping[str, object], place: Callable[[str], str]) -> Config:
    checked: dict[str, object] = {"name": default_name()}
    for key, value in values.items():
        read = _READERS.get(key)
        if read is None:
            raise ConfigError(f"{place(key)}: unknown key {key!r}; known are {', '.join(_READERS)}")
        try:
            checked[key] = read(value)
        except ValueError as error:
            raise ConfigError(f"{place(key)}: {key}: {error}") from None
    return Config(**checked)  # type: ignore[arg-type] # each reader gives its field's type


def _line_of(key: str, text: str) -> int:
    """The line on which a key of the file begins, 1 if that can't be told."""
    form = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    found = (number for number, line in enumerate(text.splitlines(), 1) if form.match(line))
    return next(found, 1)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text in quotes, found {_shown(value)}")  # noqa: TRY004 - one kind of error for all
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'expected a list of texts such as ["a", "b"], found {_shown(value)}')
    return tuple(value)


def _shown(value: object) -> str:
    return repr(value)[:60]


def _name(value: object) -> str:
    name = _text(value)
    if not 1 <= len(name) <= _MAX_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"expected 1 to {_MAX_NAME} printable characters without blanks at the ends, "
            f"found {_shown(name)}"
        )
    return name


def _listen(value: object) -> tuple[str, ...]:
    from gossip.transport.address import Address  # noqa: PLC0415 - slow to import

    addresses = [Address.parse(text) for text in _texts(value)]
    if not addresses:
        raise ValueError("expected at least one multiaddr such as /ip4/0.0.0.0/tcp/7430")
    for address in addresses:
        if not address.kind.startswith("ip"):
            raise ValueError(f"{address} is a name; listen on an address of this machine")
    return tuple(map(str, addresses))


def _bootstrap(value: object) -> tuple[str, ...]:
    from gossip.membership.invites import is_invite, parse_invite  # noqa: PLC0415 - slow to import
    from gossip.transport.address import Address  # noqa: PLC0415 - slow to import

    for text in _texts(value):
        if is_invite(text):
            parse_invite(text)
            continue
        address = Address.parse(text)
        if address.is_unspecified or not address.port:
            raise ValueError(f"{text} can't be dialed; name an address of the other machine")
    return _texts(value)


def _api(value: object) -> ApiAddress:
    return ApiAddress.parse(_text(value))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {_shown(value)}")  # noqa: TRY004 - as above
    return value


def _kinds(value: object) -> tuple[str, ...]:
    from inference.chat_task import CHAT  # noqa: PLC0415 - slow to import
    from inference.kinds import kind_named  # noqa: PLC0415 - slow to import

    names = dict.fromkeys(_texts(value))
    return tuple(name if name == CHAT else kind_named(name).name for name in names)


def _idle(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_IDLE_S:
        raise ValueError(
            f"expected a number of seconds from 1 to {_MAX_IDLE_S}, found {_shown(value)}"
        )
    return value


def _between(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"expected a number from {least} to {most}, found {_shown(value)}")
        return value

    return read


def _secret(value: object) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("expected 64 hex digits, as `bizra-node caches --secret` makes them")
    return text


def _level(value: object) -> str:
    if value not in LOG_LEVELS:
        raise ValueError(f"expected one of {', '.join(LOG_LEVELS)}, found {_shown(value)}")
    return str(value)


_READERS: dict[str, Callable[[object], object]] = {
    "name": _name,
    "listen": _listen,
    "bootstrap": _bootstrap,
    "api": _api,
    "mdns": _flag,
    "kinds": _kinds,
    "chat_peers": _flag,
    "audit_per_cent": _between(0, 100),
    "canary_every_s": _between(0, 10**9),
    "shared_cache": _secret,
    "model_idle_s": _idle,
    "log_level": _level,
    "contents_mb": _between(16, 1_000_000),
    "send_mb_per_s": _between(0, 100_000),
    "quota_per_s": _between(1, 1_000_000_000),
    "client_parallel": _between(0, 1_000_000),
    "snapshot_every": _between(0, 10**9),
    "snapshot_behind": _between(0, 10**9),
    "backend": read_servers,
    "find_models": _flag,
    "full_mesh_up_to": _between(1, 1000),
    "mesh_neighbours": _between(2, 100),
}
