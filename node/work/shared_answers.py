"""Answers shared among the nodes of a circle: laid down with them, asked for, and checked.

What protects them stands in `inference/shared_answers.py`. Only nodes of the circle are asked, answered or
taken from, and only one question goes on each stream. Nobody waits for a copy to be laid down; who asks
waits `FIND_S` at most, and then for the model.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from typing import Final, cast

import msgspec
import structlog
import trio

from consensus.ledger.machine import Ledger
from consensus.operations.transactions import (
    SignedReceipt,
    TaskReceipt,
    Usage,
    content_hash,
    sign_receipt,
)
from gossip.codec import DecodeError, Digest, decode, encode
from gossip.identity import NodeId, Signer, Verifier
from gossip.json_form import to_json_value
from gossip.membership.notices import Liveness
from gossip.membership.records import Capability
from gossip.transport import Stream, TransportError
from inference.answer_cache import Asker
from inference.audit import Finding, Judgement
from inference.backends.router import Routed
from inference.cache import CacheFigures, Level
from inference.chat import Call, JsonObject
from inference.chat_task import CHAT, ChatOutput, chat_input, encode_chat, tokens_of
from inference.failures import Failure
from inference.pace import Pace
from inference.selection import Choice, Considered, Decision, Verdict
from inference.shared_answers import (
    ASKED,
    COPIES,
    NONCE_BYTES,
    PROTOCOL,
    Circle,
    Entry,
    Find,
    Forged,
    Found,
    Held,
    Keep,
    NotHeld,
    Question,
    Reply,
    Shared,
    Spot,
    check_entry,
    check_shared,
    holders,
    is_current,
    may_share,
    plain_answer,
    seal,
    sign_entry,
    unseal,
)
from node.driver import now_ms
from node.peers.service import PeerService
from node.storage.shelf import DiskShelf
from node.work.audits import Audits
from node.work.service import TaskService

log = structlog.get_logger(__name__)

CACHE: Final = "cache"
"""The kind of capability under which a node says that it is of a circle."""
FIND_S: Final = 0.5

_SERVE_S: Final = 10.0
_LAY_DOWN_S: Final = 10.0
_STREAMS_A_PEER: Final = 16
_KEPT_A_MINUTE: Final = 600
"""How many answers of one node are taken in a minute."""
_REFUSED: Final = 10_000
"""How many forgeries are remembered, so that each counts once."""


class SharedAnswers:
    """One node of a circle."""

    def __init__(
        self,
        *,
        circle: Circle,
        signer: Signer,
        verifier: Verifier,
        ledger: Ledger,
        shelf: DiskShelf,
        peers: PeerService,
        tasks: TaskService,
        audits: Audits,
        nursery: trio.Nursery,
    ) -> None:
        self._circle, self._signer, self._verifier = circle, signer, verifier
        self._own = NodeId(signer.public)
        self._ledger, self._chain = ledger, ledger.genesis.federation_id
        self._shelf, self._peers, self._tasks = shelf, peers, tasks
        self._foreman, self._audits, self._nursery = audits.foreman, audits, nursery
        self._hits = self._misses = 0
        self._streams: Counter[NodeId] = Counter()
        self._paces: dict[NodeId, Pace] = {}
        self._refused: OrderedDict[bytes, None] = OrderedDict()
        peers.link.serve(PROTOCOL, self._serve)

    def capability(self) -> Capability:
        """What this node's record says of it."""
        return Capability(CACHE, self._circle.tag(self._own), None, 0, 0)

    def clear(self) -> None:
        """Forget what lies here."""
        self._shelf.clear()

    def figures(self) -> CacheFigures:
        """What lies here, and how often this node's own requests found something anywhere."""
        return msgspec.structs.replace(self._shelf.figures(), hits=self._hits, misses=self._misses)

    # Asking

    async def find(self, call: Call, choice: Choice, asker: Asker) -> Routed[JsonObject] | None:
        """An answer that another node gave to the same request, checked."""
        if not may_share(call) or not choice.file:
            return None
        spot = self._circle.spot(asker.tenant, choice.file, call)
        named = msgspec.structs.replace(call, model=choice.model)
        found = self._from_shelf(spot, named, choice.file)
        if found is None:
            found = await self._from_others(spot, named, choice.file)
        if found is None:
            self._misses += 1
            return None
        self._hits += 1
        return self._routed(found, choice)

    def _from_shelf(self, spot: Spot, call: Call, file: str) -> Found | None:
        raw = self._shelf.get(spot.name)
        if raw is None:
            return None
        return self._judged(self._own, decode(raw, Held), spot, call, file)

    async def _from_others(self, spot: Spot, call: Call, file: str) -> Found | None:
        """Ask the first of those that would have it, all at once; the first answer that holds is taken."""
        answers: list[Found] = []

        async def ask(peer: NodeId) -> None:
            held = await self._ask(peer, spot.name)
            found = None if held is None else self._judged(peer, held, spot, call, file)
            if held is not None and found is not None:
                answers.append(found)
                self._lay_down(spot.name, held)
                nursery.cancel_scope.cancel()

        with trio.move_on_after(FIND_S):
            async with trio.open_nursery() as nursery:
                for peer in holders(spot.name, self._others())[:ASKED]:
                    nursery.start_soon(ask, peer)
        return answers[0] if answers else None

    async def _ask(self, peer: NodeId, name: Digest) -> Held | None:
        try:
            async with (
                self._peers.reached(peer),
                await self._peers.link.open_stream(peer, PROTOCOL) as stream,
            ):
                await stream.send(encode(Find(name)))
                raw = await stream.receive()
            reply: Reply | None = None if raw is None else decode(raw, Reply)  # type: ignore[arg-type]
        except (TransportError, DecodeError) as error:
            log.info("shared answer not brought", peer=peer.hex(), reason=str(error))
            return None
        return reply if isinstance(reply, Held) else None

    def _judged(self, peer: NodeId, held: Held, spot: Spot, call: Call, file: str) -> Found | None:
        """The answer in what a peer brought, if it holds; who brought or made a forgery has it in the trust book."""
        blamed, seen = peer, content_hash(encode(held))
        if seen in self._refused:
            return None
        try:
            check_entry(held.signed, held.sealed, self._chain, spot.name, self._verifier)
            blamed = NodeId(held.signed.entry.keeper)
            if not self._is_trusted(blamed) or not is_current(held.signed.entry.made_ms, now_ms()):
                return None
            shared = unseal(spot, held.sealed)
            found = check_shared(shared, call, file, self._chain, self._verifier)
            self._check_ledger(shared.receipt)
        except Forged as error:
            log.warning("a shared answer is refused", peer=blamed.hex(), reason=str(error))
            self._refuse(seen, blamed, f"an answer that it shared is forged: {error}")
            if peer == self._own:
                self._shelf.drop(spot.name)
            return None
        receipt = shared.receipt.receipt
        executor = NodeId(receipt.executor)
        if not self._is_trusted(executor) or not is_current(receipt.finished_at_ms, now_ms()):
            return None
        if found.given.proof and executor != self._own:
            self._audits.on_answer(executor, found.given, shared.output)
        return found

    def _refuse(self, seen: bytes, blamed: NodeId, reason: str) -> None:
        self._refused[seen] = None
        if len(self._refused) > _REFUSED:
            self._refused.popitem(last=False)
        if blamed != self._own:
            self._foreman.judged(blamed, Judgement(Finding.MISMATCH, reason))

    def _check_ledger(self, signed: SignedReceipt) -> None:
        """A receipt of a task must be the one that its executor was paid for. Raises `Forged`."""
        known = self._ledger.task(Digest(signed.receipt.task))
        if known is not None and known.receipt not in (None, signed):
            raise Forged("its receipt is not the one that the ledger has of the task")

    def _is_trusted(self, node: NodeId) -> bool:
        if node == self._own:
            return True
        is_member = self._peers.membership.is_member(node)
        return is_member and self._foreman.core.trust.of(node).distrust is None

    def _others(self) -> list[NodeId]:
        """The nodes of the circle that can be asked now."""
        return [
            entry.node_id
            for entry in self._peers.membership.table()
            if entry.in_reach
            and entry.status is Liveness.ALIVE
            and self._is_ours(entry.node_id, entry.capabilities)
            and self._is_trusted(entry.node_id)
        ]

    def _is_ours(self, node: NodeId, capabilities: tuple[Capability, ...]) -> bool:
        tags = [one.name for one in capabilities if one.kind == CACHE]
        return bool(tags) and self._circle.tag(node) in tags

    def _routed(self, found: Found, choice: Choice) -> Routed[JsonObject]:
        signed = found.shared.receipt
        executor, task = NodeId(signed.receipt.executor), Digest(signed.receipt.task)
        told = {**found.answer, "bizra_receipt": to_json_value(signed)}
        if self._ledger.task(task) is not None:
            told["bizra_task"] = task.hex()
        who = "this node" if executor == self._own else f"peer:{executor.hex()[:12]}"
        why = f"the circle shares the answer that {who} gave to the same request"
        line = Considered(CACHE, Verdict.CHOSEN, why)
        decision = Decision(choice.model, (), (line,), is_known=True)
        return Routed(told, who, choice.model, decision, Level.FEDERATION.value)

    # Sharing

    def keep(self, call: Call, routed: Routed[JsonObject], choice: Choice, asker: Asker) -> None:
        """Share an answer, if its request allows that."""
        if not may_share(call) or not choice.file:
            return
        spot = self._circle.spot(asker.tenant, choice.file, call)
        shared = self._from_task(call, routed, choice) or self._own_work(
            call, routed, choice, spot.name
        )
        sealed = None if shared is None else seal(spot, shared, secrets.token_bytes(NONCE_BYTES))
        if sealed is None:
            return
        entry = Entry(self._chain, spot.name, content_hash(sealed), now_ms(), self._own)
        signed = sign_entry(self._signer, entry)
        self._lay_down(spot.name, Held(signed, sealed))
        for peer in holders(spot.name, self._others())[:COPIES]:
            self._nursery.start_soon(self._bring, peer, Keep(signed, sealed))

    def _from_task(self, call: Call, routed: Routed[JsonObject], choice: Choice) -> Shared | None:
        """What a peer answered, with the receipt that it was paid for; None if what the caller got differs from it."""
        name = routed.answer.get("bizra_task")
        if not isinstance(name, str):
            return None
        task = Digest(bytes.fromhex(name))
        record = self._tasks.desk.find(task)
        given, output = self._tasks.desk.input(task), self._tasks.desk.output(task)
        if record is None or record.receipt is None or given is None or output is None:
            return None
        shared = Shared(record.receipt, given, output)
        named = msgspec.structs.replace(call, model=choice.model)
        try:
            found = check_shared(shared, named, choice.file, self._chain, self._verifier)
        except Forged as error:
            log.info("a peer's answer is not shared", task=name, reason=str(error))
            return None
        got = {key: value for key, value in routed.answer.items() if key != "bizra_task"}
        return shared if found.answer == {**got, "model": choice.model} else None

    def _own_work(
        self, call: Call, routed: Routed[JsonObject], choice: Choice, name: Digest
    ) -> Shared | None:
        """What a server of this machine answered. The receipt names the answer's place, for there is no task."""
        if "bizra_task" in routed.answer or "bizra_receipt" in routed.answer:
            return None
        named = msgspec.structs.replace(call, model=choice.model, file=choice.file)
        output = ChatOutput(lines=(msgspec.json.encode(routed.answer).decode(),), is_whole=True)
        try:
            asked = msgspec.structs.replace(chat_input(named, streamed=False), proof=False)
            plain_answer(named, output)
        except Failure as failure:
            log.info("an answer is not shared", reason=str(failure))
            return None
        given, said = encode_chat(asked), encode_chat(output)
        receipt = TaskReceipt(
            chain=self._chain,
            task=name,
            kind=CHAT,
            asker=self._own,
            executor=self._own,
            input_hash=content_hash(given),
            output_hash=content_hash(said),
            model_hash=bytes.fromhex(choice.file),
            usage=Usage(1, tokens_of([routed.answer]), routed.took_ms),
            finished_at_ms=now_ms(),
            nonce=secrets.token_bytes(32),
        )
        return Shared(sign_receipt(self._signer, receipt), given, said)

    async def _bring(self, peer: NodeId, keep: Keep) -> None:
        try:
            with trio.move_on_after(_LAY_DOWN_S):
                async with (
                    self._peers.reached(peer),
                    await self._peers.link.open_stream(peer, PROTOCOL) as stream,
                ):
                    await stream.send(encode(keep))
                    await stream.close()
                    await stream.receive()
        except TransportError as error:
            log.info("shared answer not laid down", peer=peer.hex(), reason=str(error))

    def _lay_down(self, name: bytes, held: Held) -> None:
        self._shelf.put(name, encode(held))

    # Serving

    async def _serve(self, peer: NodeId, stream: Stream) -> None:
        """One question of a node of the circle."""
        if not self._is_known(peer) or self._streams[peer] >= _STREAMS_A_PEER:
            return
        self._streams[peer] += 1
        try:
            with trio.move_on_after(_SERVE_S):
                raw = await stream.receive()
                if raw is None:
                    return
                question = cast("Question", decode(raw, Question))  # type: ignore[arg-type]
                if isinstance(question, Keep):
                    self._take(peer, question)
                else:
                    await stream.send(encode(self._held(Digest(question.name))))
        except DecodeError as error:
            log.warning("a question about shared answers does not decode", reason=str(error))
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    def _is_known(self, peer: NodeId) -> bool:
        if not self._peers.membership.is_member(peer):
            return False
        return any(
            entry.node_id == peer and self._is_ours(peer, entry.capabilities)
            for entry in self._peers.membership.table()
        )

    def _held(self, name: Digest) -> Reply:
        raw = self._shelf.get(name)
        return NotHeld() if raw is None else decode(raw, Held)

    def _take(self, peer: NodeId, keep: Keep) -> None:
        """Lay down what a node brings, if it is its own and current, and no other one that is trusted was first."""
        entry, pace = keep.signed.entry, self._paces.setdefault(peer, Pace(_KEPT_A_MINUTE))
        at_ms = int(trio.current_time() * 1000)
        if pace.wait_ms(at_ms) or not is_current(entry.made_ms, now_ms()):
            return
        pace.take(at_ms)
        try:
            check_entry(keep.signed, keep.sealed, self._chain, None, self._verifier)
        except Forged as error:
            log.warning("a shared answer is not taken", peer=peer.hex(), reason=str(error))
            return
        there = self._held(Digest(entry.name))
        first = NodeId(there.signed.entry.keeper) if isinstance(there, Held) else peer
        if entry.keeper == peer and (first == peer or not self._is_trusted(first)):
            self._lay_down(entry.name, Held(keep.signed, keep.sealed))
