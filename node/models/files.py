"""The model files behind this node's servers: hashed in a thread, told to the router and to the federation.

A model is offered to peers while its server answers probes and the hash of its file is known; when
either ends, the next record of this node no longer lists it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import trio

from gossip.membership.records import MAX_CAPABILITIES, Capability
from inference.backends.identity import Clue, clues_of
from inference.backends.router import ModelRouter
from inference.backends.standing import KnownServer
from inference.selection import ServerKind
from node.models.offers import MODELS, reads_row
from node.models.servers import ModelServer
from node.rounds import next_round

log = structlog.get_logger(__name__)

_LOOK_S: Final = 2.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}", re.ASCII)

Stamp = tuple[str, int, int, int]


class ModelFiles:
    """Which file each model of this machine is. `offer` takes what may be told to peers."""

    def __init__(self, servers: tuple[ModelServer, ...], router: ModelRouter) -> None:
        self._router = router
        self._settings = {server.name: server for server in servers}
        self._kept_back: set[str] = set()
        self._hashes: dict[Stamp, str] = {}
        self._places: dict[tuple[str, str], str] = {}
        self._slots: dict[tuple[str, str], int] = {}
        self._prices: dict[tuple[str, str], int] = {}
        self._contexts: dict[tuple[str, str], int] = {}
        self._unnameable: set[str] = set()
        self._unreadable: set[Path] = set()

    def add(self, server: ModelServer, *, is_lent: bool = True) -> None:
        """Look at this server's files too; only what is lent is offered to peers."""
        self._settings[server.name] = server
        if not is_lent:
            self._kept_back.add(server.name)

    def remove(self, name: str) -> None:
        """Look at a server's files no more."""
        self._settings.pop(name, None)
        self._kept_back.discard(name)

    def place_of(self, model: str, file: str) -> str | None:
        """The server that has this model with this file, by the last look."""
        return self._places.get((model, file))

    def with_file(self, file: str) -> tuple[str, str] | None:
        """A model of this file and the server that has it, whatever it is called here."""
        return next(
            ((model, server) for (model, one), server in self._places.items() if one == file), None
        )

    def is_here(self, file: str) -> bool:
        """Whether a server here has this file."""
        return self.with_file(file) is not None

    def is_ollama(self, server: str) -> bool:
        """Whether a server speaks Ollama's protocol, which tells no log-probabilities."""
        found = self._settings.get(server)
        return found is not None and found.kind == "ollama"

    def slots_of(self, model: str, file: str) -> int:
        """How many requests of peers for a model its server takes at once."""
        return self._slots.get((model, file), 0)

    def price_of(self, model: str, file: str) -> int:
        """What a peer pays for an answer."""
        return self._prices.get((model, file), 0)

    def models(self) -> tuple[tuple[str, str], ...]:
        """All models whose file is known, with it."""
        return tuple(sorted(self._places))

    async def run(self, *on_look: Callable[[], None]) -> None:
        """Look again and again, and call all of `on_look` after each time."""
        while True:
            await self.look()
            for call in on_look:
                call()
            await next_round(_LOOK_S)

    async def look(self) -> None:
        """Ask the servers, and hash what is new."""
        places: dict[tuple[str, str], str] = {}
        contexts: dict[tuple[str, str], int] = {}
        for known in await self._router.local():
            if known.name not in self._settings:
                continue
            files = await self._files_of(known)
            self._router.identify(known.name, files)
            if known.name in self._kept_back:
                continue
            for model, file in files.items():
                if places.setdefault((model, file), known.name) == known.name:
                    contexts[model, file] = known.standing().contexts.get(model, 0)
        self._places, self._contexts = places, contexts
        there = {
            key: self._settings[name] for key, name in places.items() if name in self._settings
        }
        self._slots = {key: one.slots for key, one in there.items()}
        self._prices = {key: one.price for key, one in there.items()}

    async def _files_of(self, known: KnownServer) -> dict[str, str]:
        standing, settings = known.standing(), known.server.settings
        entry = self._settings.get(known.name)
        if (
            entry is None
            or standing.fault is not None
            or not standing.admits
            or standing.kind is ServerKind.PEER
        ):
            return {}
        named = entry.files
        clues = {model: Clue(Path(named[model])) for model in standing.models if model in named}
        rest = tuple(model for model in standing.models if model not in named)
        if rest:
            clues.update(await clues_of(settings, rest))
        files = {}
        for model, clue in clues.items():
            found = clue.sha256 or (clue.path and await self._hash(clue.path)) or None
            if found is not None:
                files[model] = found
        return files

    async def _hash(self, path: Path) -> str | None:
        if not path.is_absolute():
            # What it means in the server's folder may be another file in this one's.
            self._warn_of(path, "the server names it without its folder")
            return None
        try:
            stamp = await trio.to_thread.run_sync(_stamp, path)
            if stamp not in self._hashes:
                log.info("hashing a model's file", path=str(path))
                self._hashes[stamp] = await trio.to_thread.run_sync(_sha256, path)
            return self._hashes[stamp]
        except OSError as error:
            self._warn_of(path, str(error))
            return None

    def _warn_of(self, path: Path, reason: str) -> None:
        """Once, and not at each look."""
        if path not in self._unreadable:
            self._unreadable.add(path)
            log.warning(
                "a model's file can't be read, so no peer is offered it; name it under `files`",
                path=str(path),
                reason=reason,
            )

    def capabilities(self, in_hand: Callable[[str, str], int], room: int) -> tuple[Capability, ...]:
        """For this node's record. `in_hand` counts a model's requests, `room` is what a record may still list.

        Where there is not room for all, how much the last models read is left out first.
        """
        offers, reads = [], []
        for model, file in self.models():
            if not _NAME.fullmatch(model):
                if model not in self._unnameable:
                    self._unnameable.add(model)
                    log.warning("a model's name can't stand in a record", model=model)
                continue
            free = max(0, self.slots_of(model, file) - in_hand(model, file))
            price = self.price_of(model, file)
            offers.append(Capability(MODELS, model, bytes.fromhex(file), price, free))
            row = reads_row(offers[-1], self._contexts.get((model, file), 0))
            if row is not None:
                reads.append(row)
        return tuple([*offers, *reads][: min(room, MAX_CAPABILITIES)])


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
