"""What this node's record says it can do: the embedded model's kinds, other services, models that peers may ask."""

from __future__ import annotations

from typing import Final

from gossip.membership.events import CapabilitiesChanged
from gossip.membership.records import MAX_CAPABILITIES, Capability
from inference.chat_task import CHAT
from inference.executor import CAPACITY
from node.models.files import ModelFiles
from node.parts import own_capabilities
from node.peers.service import PeerService
from node.work.service import TaskService

_STEPS: Final = 4
"""Loads are told in quarters: a record is not signed anew for every task."""


class ModelOffers:
    """Tells the federation when what this node offers has changed."""

    def __init__(
        self,
        files: ModelFiles,
        peers: PeerService,
        tasks: TaskService,
        kinds: tuple[str, ...],
        others: tuple[Capability, ...] = (),
    ) -> None:
        self._files, self._peers, self._tasks, self._kinds = files, peers, tasks, kinds
        self._others = others
        self._told: CapabilitiesChanged | None = None

    def renew(self) -> None:
        """Look at what there is now."""
        offers = own_capabilities(self._kinds) + self._others
        if CHAT in self._kinds:
            room = MAX_CAPABILITIES - len(offers)
            offers += self._files.capabilities(self._tasks.lent, room)
        load = min(_STEPS, self._tasks.desk.in_hand * _STEPS // CAPACITY) * 1000 // _STEPS
        now = CapabilitiesChanged(offers, load)
        if now != self._told:
            self._told = now
            self._peers.post(now)
