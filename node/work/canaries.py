"""Peers asked from time to time what this node can check, one after the other, whether or not anybody uses them.

A canary looks like any other conversation and is paid like one, so its owner says how often (`canary_every_s`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import structlog
import trio

from gossip.identity import NodeId
from inference.audit import Judgement

log = structlog.get_logger(__name__)


class Checks(Protocol):
    """The way to peers."""

    def offered(self) -> Iterable[tuple[NodeId, str, str]]:
        """Peers that may be asked now, their names for a model, and the hash of its file."""

    async def check(self, node: NodeId, model: str) -> Judgement:
        """Ask one a canary, compare, and tell the trust book."""


class Canaries:
    """`has_file` says whether a server of this machine has a file, by its hash."""

    def __init__(self, checks: Checks, has_file: Callable[[str], bool], every_s: float) -> None:
        self._checks, self._has_file, self._every_s = checks, has_file, every_s
        self._asked: dict[tuple[NodeId, str], int] = {}
        """Who was asked for which model, and in which round."""

    async def run(self) -> None:
        """One canary every so often, until cancelled."""
        rounds = 0
        while True:
            await trio.sleep(self._every_s)
            rounds += 1
            due = self._due()
            if due is None:
                continue
            self._asked[due] = rounds
            node, model = due
            judgement = await self._checks.check(node, model)
            log.info("canary", peer=node.hex(), model=model, finding=judgement.finding.value)

    def _due(self) -> tuple[NodeId, str] | None:
        """Who was asked longest ago, of those whose answer can be checked here."""
        here = [
            (node, model) for node, model, file in self._checks.offered() if self._has_file(file)
        ]
        self._asked = {one: when for one, when in self._asked.items() if one in here}
        return min(here, key=lambda one: (self._asked.get(one, 0), one), default=None)
