"""Conversations handed to peers: each peer with a model is a server of the router, each call a task on the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import trio

from gossip.codec import Digest, decode_canonical
from gossip.identity import NodeId
from gossip.membership.notices import Liveness, PeerEntry
from inference.asker import AskedTask, Stage
from inference.audit import Finding, Judgement
from inference.backends.peer import PeerServer
from inference.backends.servers import ServerSettings
from inference.chat_task import CHAT, ChatInput, ChatOutput, encode_chat, failure_of
from inference.failures import BadRequest, Broken, Failure, Garbled, Overloaded, WrongModel
from inference.placement import Place
from inference.selection import Merits, ServerKind
from node.chain.own_account import NotTakenError
from node.models.offers import MODELS, contexts_of, files_of
from node.peers.service import PeerService
from node.work.audits import Audits, canary
from node.work.foreman import ForemanService
from node.work.service import Follower, TaskService

DEADLINE_S: Final = 300
"""How long a peer has for an answer."""

_SILENCE_S: Final = 120.0
_SHORT: Final = 12


def server_name(node: NodeId) -> str:
    """A peer's name in decisions."""
    return f"peer:{node.hex()[:_SHORT]}"


class PeerChats:
    """The federation, as the router sees it."""

    def __init__(
        self, tasks: TaskService, peers: PeerService, foreman: ForemanService, audits: Audits
    ) -> None:
        self._tasks, self._peers = tasks, peers
        self._foreman, self._audits = foreman, audits
        self._servers: dict[NodeId, PeerServer] = {}

    def servers(self) -> Iterator[tuple[PeerServer, Merits, Mapping[str, str]]]:
        """Peers that are alive, in reach, admitted and list a model."""
        for entry, files in self._there():
            server = self._server(entry.node_id)
            server.contexts = contexts_of(entry.capabilities)
            yield server, self._merits(entry), files

    def _there(self) -> Iterator[tuple[PeerEntry, dict[str, str]]]:
        for entry in self._peers.membership.table():
            files = files_of(entry.capabilities)
            is_there = entry.in_reach and entry.status is Liveness.ALIVE and entry.role is not None
            if files and is_there:
                yield entry, files

    def offered(self) -> Iterator[tuple[NodeId, str, str]]:
        """Those that may be asked now, their names for their models, and the hashes of the files."""
        for entry, files in self._there():
            if self._foreman.core.trust.of(entry.node_id).distrust is None:
                yield from ((entry.node_id, model, file) for model, file in files.items())

    def _server(self, node: NodeId) -> PeerServer:
        server = self._servers.get(node)
        if server is None:
            name = server_name(node)
            settings = ServerSettings(name=name, url="", kind=ServerKind.PEER, timeout_s=_SILENCE_S)
            server = self._servers[node] = PeerServer(settings, _Door(self, node))
        return server

    def _merits(self, entry: PeerEntry) -> Merits:
        offers = [one for one in entry.capabilities if one.kind == MODELS]
        found = self._foreman.core.trust.of(entry.node_id)
        return Merits(
            trust=found.trust,
            distrust=found.distrust,
            free_slots=max(one.free_slots for one in offers),
            load=entry.load,
            price=min(one.price for one in offers),
            rtt_ms=entry.rtt_ms,
        )

    def _price(self, node: NodeId, model: str) -> int:
        for entry in self._peers.membership.table():
            if entry.node_id == node:
                for offer in entry.capabilities:
                    if offer.kind == MODELS and offer.name == model:
                        return offer.price
        raise Overloaded("it no longer lists the model")

    async def ask(
        self, node: NodeId, given: ChatInput, why: str, *, is_canary: bool = False
    ) -> Answer:
        """Put the call on the ledger as a task for this peer. A canary is compared in any case, and counts once."""
        answer = Answer(self._tasks, given, None if is_canary else self._audits, node)
        try:
            await self._tasks.place(
                CHAT,
                encode_chat(given),
                Place(node, why),
                reward=self._price(node, given.model),
                deadline_s=DEADLINE_S,
                follower=answer,
            )
        except NotTakenError as error:
            raise BadRequest(f"the task was not taken: {error}") from None
        return answer

    async def check(self, node: NodeId, model: str) -> Judgement:
        """Ask a peer a canary and compare its answer with the same file's here."""
        files = next(
            (
                files_of(one.capabilities)
                for one in self._peers.membership.table()
                if one.node_id == node
            ),
            {},
        )
        if model not in files:
            has = ", ".join(files) or "none"
            return Judgement(
                Finding.INCONCLUSIVE, f"the peer does not offer {model!r}; it offers: {has}"
            )
        given = canary(model, files[model])
        try:
            why = "to look whether it answers as the file would"
            answer = await self.ask(node, given, why, is_canary=True)
            try:
                while await answer.receive() is not None:
                    pass
            finally:
                await answer.aclose()
        except Failure as failure:
            return Judgement(Finding.INCONCLUSIVE, f"the peer did not answer: {failure}")
        return await self._audits.compare(node, given, answer.content)


class _Door:
    """The way to one peer."""

    def __init__(self, chats: PeerChats, node: NodeId) -> None:
        self._chats, self._node = chats, node

    async def ask(self, given: ChatInput, why: str) -> Answer:
        return await self._chats.ask(self._node, given, why)


class Answer(Follower):
    """What one peer says to one call, from the task's beginning to its end."""

    def __init__(
        self, tasks: TaskService, given: ChatInput, audits: Audits | None, node: NodeId
    ) -> None:
        super().__init__()
        self._tasks, self._given, self._audits, self._node = tasks, given, audits, node
        self.content = b""
        self._put, self._lines = trio.open_memory_channel[str](0)
        self._seen: list[str] = []
        self._failure: Failure | None = None
        self._record: AskedTask | None = None

    @property
    def task(self) -> str:
        """The task's id, in hex."""
        return self.name.hex()

    async def on_lines(self, lines: tuple[str, ...]) -> None:
        """Lines from the peer; waits until the caller has taken them."""
        try:
            for line in lines:
                await self._put.send(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def on_record(self, record: AskedTask) -> None:
        """The task's record has changed."""
        if self._record is not None or self._failure is not None:
            return
        if record.receipt is not None:
            self._record = record
        elif record.stage in (Stage.FAILED, Stage.CANCELLED):
            self._failure = failure_of(record.reason)
        else:
            return
        self._put.close()

    def on_lost(self, reason: str) -> None:
        """The stream broke. The desk may still fetch the output; this caller does not wait for it."""
        if self._record is None and self._failure is None:
            self._failure = Broken(reason)
            self._put.close()

    async def receive(self) -> str | None:
        """The next line; None once the receipt for all of them is here."""
        try:
            line = await self._lines.receive()
        except trio.EndOfChannel:
            return self._ending()
        self._seen.append(line)
        return line

    def _ending(self) -> str | None:
        if self._failure is not None:
            raise self._failure
        assert self._record is not None
        assert self._record.receipt is not None
        if self._record.receipt.receipt.model_hash.hex() != self._given.file:
            raise WrongModel("it signed for an answer of another model's file")
        content = self._tasks.desk.output(Digest(self._record.task))
        assert content is not None
        self.content, output = content, decode_canonical(content, ChatOutput)
        if not self._given.streamed and not self._seen and output.lines:
            self._seen = list(output.lines)
            return output.lines[0]
        if tuple(self._seen) != output.lines or not output.is_whole:
            raise Garbled("it signed for another answer than the one it gave")
        if self._given.proof and self._audits is not None:
            self._audits.on_answer(self._node, self._given, content)
        return None

    async def aclose(self) -> None:
        """Before the end this tells the peer to stop."""
        self._lines.close()
        if self._record is None and self._failure is None:
            self.wants_stop.set()
            self._tasks.withdraw(self.name)
