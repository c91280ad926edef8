"""The model servers while the node runs: those of config.toml, those added since, those found on their usual ports.

What the owner adds is written to `backends.toml` in the home, so that it is there after a restart; a
server of config.toml can be taken out for this run. What is found is looked for again at each start.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from inference.backends.router import ModelRouter
from inference.backends.servers import TellsContexts
from inference.backends.standing import KnownServer
from inference.chat import AUTO
from inference.failures import Failure
from node.errors import NodeError
from node.models.files import ModelFiles
from node.models.servers import MAX_SERVERS, ModelServer, make_server, read_servers, to_toml
from node.rounds import next_round
from node.storage.durable import PRIVATE, replace_file
from node.views.facade import Problem
from node.views.records import BackendModelView, BackendsView, BackendView

log = structlog.get_logger(__name__)

USUAL: Final = (
    ("lmstudio", "http://127.0.0.1:1234", "openai"),
    ("ollama", "http://127.0.0.1:11434", "ollama"),
    ("llama.cpp", "http://127.0.0.1:8080", "openai"),
    ("vllm", "http://127.0.0.1:8000", "openai"),
)
"""Where these programs listen unless told otherwise."""
_LOOK_S: Final = 30.0
_BUILT_IN: Final = "built-in"


class Backends:
    """Adds and removes servers of a running router. `path` is the file of those that were added.

    What is only found is used, but not offered to peers: `files` is told which those are.
    """

    def __init__(
        self,
        router: ModelRouter,
        configured: tuple[ModelServer, ...],
        path: Path,
        now_s: Callable[[], int],
        files: ModelFiles | None = None,
    ) -> None:
        self._router, self._path, self._now_s, self._files = router, path, now_s, files
        self._origins = {server.name: "config" for server in configured}
        self._urls = {server.name: server.url for server in configured}
        self._added: dict[str, ModelServer] = {}
        self._taken_out: set[str] = set()
        """URLs that the owner took out: not to be found again."""

    def load(self) -> None:
        """Add what was added before. Raises `NodeError` if the file can't be read."""
        try:
            text = self._path.read_text("utf-8")
            servers = read_servers(tomllib.loads(text).get("backend", []))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise NodeError(f"{self._path}: {error}; mend it, or remove the file") from None
        for server in servers:
            if server.name not in self._origins:
                self._take_in(server, "added")
                self._added[server.name] = server

    async def add(self, row: dict[str, object]) -> BackendView:
        """A server, as a table of config.toml names it, and how it stands. Raises `Problem`."""
        try:
            (server,) = read_servers([row])
        except ValueError as error:
            raise Problem(422, "bad_field", str(error)) from None
        if server.name in self._origins:
            raise Problem(409, "name_taken", f"there is a server named {server.name!r} already")
        if len(self._origins) >= MAX_SERVERS:
            raise Problem(409, "too_many", f"at most {MAX_SERVERS} servers are used; remove one")
        self._taken_out.discard(server.url)
        self._take_in(server, "added")
        self._added[server.name] = server
        self._save()
        known = self._router.known(server.name)
        await known.refresh()
        return self._view(known)

    async def remove(self, name: str) -> None:
        """Take a server out; what it has in hand it may finish. Raises `Problem`."""
        if name not in self._origins:
            raise Problem(404, "unknown_backend", f"there is no server named {name[:64]!r}")
        del self._origins[name]
        self._taken_out.add(self._urls.pop(name))
        if self._added.pop(name, None) is not None:
            self._save()
        if self._files is not None:
            self._files.remove(name)
        await self._router.remove(name)

    async def rows(self) -> BackendsView:
        """All servers as they stand now."""
        return BackendsView(backends=tuple(self._view(one) for one in await self._router.local()))

    async def look_around(self) -> None:
        """Look at the usual ports, at once and from time to time."""
        while True:
            for name, url, kind in USUAL:
                if name not in self._origins and not self._is_known(url):
                    await self._try(ModelServer(name, url, kind))
            await next_round(_LOOK_S)

    async def _try(self, found: ModelServer) -> None:
        server = make_server(found, self._now_s)
        try:
            models = await server.probe()
        except Failure:
            return
        finally:
            await server.aclose()
        # A node lists `auto`: asking another node, which may ask this one, would go in circles.
        if models and AUTO not in models and found.name not in self._origins:
            log.info("model server found", server=found.name, url=found.url, models=models[:8])
            self._take_in(found, "found")

    def _is_known(self, url: str) -> bool:
        port = urlsplit(url).port
        return any(urlsplit(one).port == port for one in (*self._urls.values(), *self._taken_out))

    def _take_in(self, server: ModelServer, origin: str) -> None:
        self._router.add(make_server(server, self._now_s))
        self._origins[server.name], self._urls[server.name] = origin, server.url
        if self._files is not None:
            self._files.add(server, is_lent=origin == "added")

    def _save(self) -> None:
        replace_file(self._path, to_toml(tuple(self._added.values())).encode(), PRIVATE)

    def _view(self, known: KnownServer) -> BackendView:
        standing, settings = known.standing(), known.server.settings
        server = known.server
        contexts = server.contexts if isinstance(server, TellsContexts) else {}
        return BackendView(
            name=standing.name,
            kind=standing.kind.value,
            url=settings.url,
            origin=self._origins.get(standing.name, _BUILT_IN),
            up=standing.fault is None,
            fault=standing.fault,
            breaker=standing.breaker.value,
            in_hand=standing.in_hand,
            most_in_hand=standing.most_in_hand,
            price=standing.price,
            models=tuple(
                BackendModelView(
                    id=name,
                    context_tokens=contexts.get(name),
                    file=standing.files.get(name),
                )
                for name in standing.models
            ),
        )
