"""What happens in one part of a node and matters to another, or to whoever watches the terminal."""

from __future__ import annotations

import structlog
import trio

from consensus.engine import BlockExecuted, Engine
from consensus.events import EpochChanged, MemberChanged
from consensus.transactions import AdmitObserver
from gossip.identity import NodeId
from gossip.membership.events import AdmissionChanged
from gossip.membership.notices import (
    ApplicantArrived,
    BootstrapRefused,
    InvitePresented,
    StandingChanged,
    StatusChanged,
    WrongFederation,
)
from node.announcer import Announcer
from node.own_account import NotTakenError, OwnAccount
from node.peer_service import DialInVain, PeerService

log = structlog.get_logger(__name__)


class News:
    """What happens in one part and matters to another, or to whoever watches the terminal."""

    def __init__(
        self,
        announcer: Announcer,
        engine: Engine,
        peers: PeerService,
        account: OwnAccount,
        nursery: trio.Nursery,
    ) -> None:
        self._announcer, self._engine, self._peers = announcer, engine, peers
        self._account, self._nursery = account, nursery
        self._admitting: set[bytes] = set()

    def on_report(self, what: object) -> None:
        """Tell membership whom the ledger has admitted."""
        if not isinstance(what, BlockExecuted):
            return
        changed: set[NodeId] = set()
        for event in what.result.events:
            if isinstance(event, MemberChanged):
                changed.add(NodeId(event.node))
                if event.node == self._account.node_id:
                    self._announcer.own_role(event.role.value, self._engine.validators)
            elif isinstance(event, EpochChanged):
                self._announcer.epoch(event.now)
        if changed:
            self._peers.post(AdmissionChanged(tuple(sorted(changed))))

    def on_notice(self, notice: object) -> None:
        """Let in who shows an invite of ours; tell the rest to the terminal and the log."""
        self._announcer.peer_news(notice)
        match notice:
            case InvitePresented() if notice.node not in self._admitting:
                self._admitting.add(notice.node)
                self._nursery.start_soon(self._admit, notice)
            case WrongFederation() | BootstrapRefused():
                log.error("joining failed", notice=str(notice))
            case ApplicantArrived() | StandingChanged() | StatusChanged() | DialInVain():
                log.info("peer news", notice=str(notice))
            case _:
                pass

    async def _admit(self, notice: InvitePresented) -> None:
        try:
            transaction = await self._account.transact(AdmitObserver(notice.node, notice.invite_id))
            await self._account.settle(transaction.id)
        except NotTakenError as error:
            log.warning("an invited node was not let in", node=notice.node.hex(), reason=str(error))
        finally:
            self._admitting.discard(notice.node)
