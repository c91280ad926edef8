"""What happens in one part of a node and matters to another, or to whoever watches the terminal."""

from __future__ import annotations

import structlog
import trio

from consensus.engine import Engine
from consensus.evidence import evidence_of
from consensus.execution import BlockExecuted
from consensus.ledger.events import EpochChanged, MemberChanged, VotingKeyRotated
from consensus.ledger.records import Role
from consensus.operations.transactions import AdmitObserver
from consensus.operations.validators import ReportEquivocation
from consensus.pbft.own_votes import VotesElsewhere
from consensus.pbft.reports import Equivocation
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
from node.chain.own_account import NotTakenError, OwnAccount
from node.parts import Parts
from node.peers.service import DialInVain, PeerService
from node.storage.votes import begin_fresh
from node.storage.voting_key import finish_rotation

log = structlog.get_logger(__name__)

_NEWS: frozenset[type] = frozenset({MemberChanged, VotingKeyRotated, EpochChanged})


class News:
    """What happens in one part and matters to another, or to whoever watches the terminal."""

    def __init__(
        self,
        parts: Parts,
        engine: Engine,
        peers: PeerService,
        account: OwnAccount,
        nursery: trio.Nursery,
    ) -> None:
        self._parts, self._announcer = parts, parts.announcer
        self._engine, self._peers = engine, peers
        self._account, self._nursery = account, nursery
        self._admitting: set[bytes] = set()
        self._accused: set[bytes] = set()

    def on_report(self, what: object) -> None:
        """Tell membership whom the ledger has admitted, and the ledger who contradicts itself."""
        if isinstance(what, VotesElsewhere):
            self._announcer.silenced(f"somebody votes with this node's key: {what.sentence}")
        if isinstance(what, Equivocation):
            self._accuse(what)
        if not isinstance(what, BlockExecuted):
            return
        changed: set[NodeId] = set()
        for event in what.result.events:
            if type(event) not in _NEWS:  # nearly all
                continue
            if isinstance(event, MemberChanged):
                changed.add(NodeId(event.node))
                if event.node == self._account.node_id:
                    self._tell_role(event.role)
            elif isinstance(event, VotingKeyRotated) and event.node == self._account.node_id:
                self._take_key(event.voting_key)
            elif isinstance(event, EpochChanged):
                self._announcer.epoch(event.now)
        if changed:
            self._peers.post(AdmissionChanged(tuple(sorted(changed))))

    def _tell_role(self, role: Role | None) -> None:
        if role is None:
            self._announcer.expelled()
        else:
            self._announcer.own_role(role.value, self._engine.validators)

    def _take_key(self, voting_key: bytes) -> None:
        """The block that rotated the own key is on disk; so is the key. From the next start on it is the only one."""
        finish_rotation(self._parts.home, self._account.node_id, voting_key)
        begin_fresh(self._parts.home)
        self._announcer.rotated(voting_key)

    def _accuse(self, report: Equivocation) -> None:
        """Bring evidence to the ledger, once for each key; others who saw it do the same."""
        evidence = evidence_of(report)
        key = self._engine.ledger.voting_key(report.voter)
        known = key is None or key.slashed or report.voter in self._accused
        if (
            evidence is not None
            and not known
            and self._engine.ledger.account(self._account.node_id)
        ):
            self._accused.add(report.voter)
            self._nursery.start_soon(self._report, evidence)

    async def _report(self, evidence: ReportEquivocation) -> None:
        try:
            transaction = await self._account.transact(evidence)
            await self._account.settle(transaction.id)
        except NotTakenError as error:
            log.info("evidence was not taken", voter=evidence.voter.hex(), reason=str(error))

    def on_notice(self, notice: object) -> None:
        """Let in who shows an invite of ours; tell the rest to the terminal and the log."""
        self._announcer.peer_news(notice)
        match notice:
            case InvitePresented() if notice.node not in self._admitting:
                self._admitting.add(notice.node)
                self._nursery.start_soon(self._admit, notice)
            case WrongFederation() | BootstrapRefused():
                log.error("joining failed", notice=str(notice))
            case StatusChanged():
                before = None if notice.before is None else notice.before.value
                log.info(
                    "peer status",
                    peer=notice.node.hex(),
                    name=notice.name,
                    before=before,
                    after=notice.after.value,
                )
            case ApplicantArrived() | StandingChanged() | DialInVain():
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
