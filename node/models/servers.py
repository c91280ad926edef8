"""The model servers that the owner names: `[[backend]]` in config.toml, and the router made of them.

    [[backend]]
    name = "lmstudio"
    url = "http://127.0.0.1:1234"
    kind = "openai"            # or "ollama", or "gguf" with the path of a file as url
    api_key = "..."            # optional
    models = ["qwen3-4b"]      # optional: only these are used
    timeout_s = 600            # optional
    parallel = 64              # optional: requests of this node at once
    per_minute = 0             # optional: requests a minute; 0 is no bound
    slots = 4                  # optional: conversations of peers at once
    price = 100                # optional: what a peer pays for an answer; the cheaper server is asked first
    files = { "qwen3-4b" = "/models/qwen3-4b.gguf" }  # optional: where the server does not tell

Only servers on this machine: what is asked holds the owner's texts, and they leave the machine to
peers on encrypted streams alone. A server elsewhere is reached by forwarding its port through ssh.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from inference.backend import Backend
    from inference.backends.router import ModelRouter
    from inference.backends.servers import Server
    from inference.breaker import BreakerChanged

KINDS = ("openai", "ollama", "gguf")
MAX_SERVERS = 16
_RESERVED = "embedded"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_SLOTS = 64
_MAX_PARALLEL = 64
_MAX_PER_MINUTE = 1_000_000
_MAX_PRICE = 2**53
_MAX_TIMEOUT_S = 24 * 60 * 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[\x21-\x7e]{1,1024}")


@dataclass(frozen=True, slots=True)
class ModelServer:
    """One `[[backend]]`."""

    name: str
    url: str
    kind: str
    api_key: str | None = None
    models: tuple[str, ...] = ()
    timeout_s: int = 600
    slots: int = 4
    price: int = 100
    files: Mapping[str, str] = field(default_factory=dict)
    parallel: int = 64
    per_minute: int = 0


def read_servers(value: object) -> tuple[ModelServer, ...]:
    """All `[[backend]]` tables. Raises `ValueError` with a sentence."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ValueError("expected tables: [[backend]]")
    if len(value) > MAX_SERVERS:
        raise ValueError(f"at most {MAX_SERVERS} are used")
    servers = tuple(_server(row) for row in value)
    names = [server.name for server in servers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two have the name {name!r}")
    return servers


def _server(row: Mapping[str, object]) -> ModelServer:
    known = ModelServer.__dataclass_fields__
    for key in row:
        if key not in known:
            raise ValueError(f"unknown key {key[:64]!r}; known are {', '.join(known)}")
    name, url, kind = (_needed(row, key) for key in ("name", "url", "kind"))
    if not _NAME.fullmatch(name) or name == _RESERVED:
        raise ValueError(
            "name: expected 1 to 64 letters, digits, dots, dashes or underscores, and not "
            f"{_RESERVED!r}; found {name[:64]!r}"
        )
    if kind not in KINDS:
        raise ValueError(f"{name}: kind: expected one of {', '.join(KINDS)}, found {kind[:64]!r}")
    files = _files(name, row.get("files", {}))
    if kind == "gguf":
        files[_gguf(name, url).stem] = url
    return ModelServer(
        name,
        url if kind == "gguf" else _url(name, url),
        kind,
        _api_key(name, row.get("api_key")),
        _models(name, row.get("models", [])),
        _timeout_s(name, row.get("timeout_s", 600)),
        _slots(name, row.get("slots", 4)),
        _price(name, row.get("price", 100)),
        files,
        _bound(name, "parallel", row.get("parallel", 64), 1, _MAX_PARALLEL),
        _bound(name, "per_minute", row.get("per_minute", 0), 0, _MAX_PER_MINUTE),
    )


def _needed(row: Mapping[str, object], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected a text in quotes")  # noqa: TRY004 - one kind of error for all
    return value


def _url(name: str, url: str) -> str:
    parts = urlsplit(url)
    has_port = parts.port is not None  # raises ValueError for a wrong one
    if parts.scheme != "http" or not has_port or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{name}: url: expected http://127.0.0.1:PORT, found {url[:80]!r}")
    if parts.hostname not in _LOOPBACK:
        raise ValueError(
            f"{name}: url: {parts.hostname} is not this machine; forward its port by ssh "
            f"(ssh -L {parts.port}:127.0.0.1:{parts.port} {parts.hostname}) and name 127.0.0.1"
        )
    return url


def _gguf(name: str, url: str) -> Path:
    path = Path(url)
    if not path.is_absolute() or path.suffix != ".gguf":
        raise ValueError(
            f"{name}: url: expected the path of a file /..../NAME.gguf, found {url[:80]!r}"
        )
    return path


def _api_key(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError(f"{name}: api_key: expected a text of visible ASCII characters")
    return value


def _models(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f'{name}: models: expected a list of texts such as ["qwen3-4b"]')
    return tuple(value)


def _timeout_s(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_TIMEOUT_S:
        raise ValueError(
            f"{name}: timeout_s: expected a number of seconds from 1 to {_MAX_TIMEOUT_S}"
        )
    return value


def _bound(name: str, key: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}: {key}: expected a number from {least} to {most}")
    return value


def _slots(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_SLOTS:
        raise ValueError(f"{name}: slots: expected a number from 0 to {_MAX_SLOTS}")
    return value


def _price(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_PRICE:
        raise ValueError(f"{name}: price: expected a number from 1 to {_MAX_PRICE}")
    return value


def _files(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(
        isinstance(path, str) and path.startswith("/") for path in value.values()
    ):
        raise ValueError(
            f'{name}: files: expected paths from the root such as {{ "qwen3-4b" = "/models/q.gguf" }}'
        )
    return dict(value)


def to_toml(servers: tuple[ModelServer, ...]) -> str:
    """The tables that say this."""
    tables = []
    for server in servers:
        rows = {key: value for key, value in asdict(server).items() if value is not None}
        files = rows.pop("files")
        lines = [f"{key} = {json.dumps(rows[key], ensure_ascii=False)}\n" for key in rows]
        if files:
            pairs = (f"{json.dumps(one)} = {json.dumps(path)}" for one, path in files.items())
            lines.append(f"files = {{ {', '.join(pairs)} }}\n")
        tables.append("\n[[backend]]\n" + "".join(lines))
    return "".join(tables)


def make_router(
    entries: tuple[ModelServer, ...],
    embedded: Backend,
    *,
    now_s: Callable[[], int],
    on_breaker: Callable[[str, BreakerChanged], None],
) -> ModelRouter:
    """The router for these servers, the embedded model last."""
    from inference.backends.embedded import EmbeddedServer  # noqa: PLC0415 - slow to import
    from inference.backends.router import ModelRouter  # noqa: PLC0415 - as above

    servers = [make_server(entry, now_s) for entry in entries]
    return ModelRouter([*servers, EmbeddedServer(embedded, now_s)], on_breaker=on_breaker)


def make_server(entry: ModelServer, now_s: Callable[[], int]) -> Server:
    """The server that an entry names."""
    from inference.backends.ollama import OllamaServer  # noqa: PLC0415 - slow to import
    from inference.backends.openai import OpenAiServer  # noqa: PLC0415 - as above
    from inference.backends.servers import ServerSettings  # noqa: PLC0415 - as above
    from inference.gguf.server import GgufServer  # noqa: PLC0415 - as above
    from inference.selection import ServerKind  # noqa: PLC0415 - as above

    settings = ServerSettings(
        name=entry.name,
        url=entry.url,
        kind=ServerKind(entry.kind),
        api_key=entry.api_key,
        models=entry.models,
        timeout_s=entry.timeout_s,
        parallel=entry.parallel,
        per_minute=entry.per_minute,
        price=entry.price,
    )
    if settings.kind is ServerKind.OLLAMA:
        return OllamaServer(settings, now_s)
    if settings.kind is ServerKind.GGUF:
        return GgufServer(settings)
    return OpenAiServer(settings)
