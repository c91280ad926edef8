"""A node that gives and takes snapshots: the engine, and in pure form what `node.chain.snapshots` does around it.

Snapshots and their proofs (`consensus.snapshot`), the ranking of offers, manifests and the download
(`gossip.transfer`) are the daemon's own. What differs: a request and its answer are a message each instead of turns on
a stream, and a node that was restarted has forgotten which snapshots it made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from consensus.engine import (
    BoundSync,
    Engine,
    EngineEvent,
    PeerConnected,
    PeerDisconnected,
    Received,
    Started,
    TimerFired,
)
from consensus.execution import BlockExecuted
from consensus.genesis import Genesis
from consensus.ledger.machine import HEIGHT_KEY
from consensus.ledger.state import STATE_PREFIX
from consensus.messages import ConsensusMessage
from consensus.snapshot import (
    Offer,
    SnapshotError,
    SnapshotProof,
    proof_fault,
    prove,
    ranked,
    read_state,
    restored,
    state_pages,
)
from gossip.codec import DecodeError, Digest, Wire, decode, encode
from gossip.effects import (
    Broadcast,
    Effect,
    KeyValueReader,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
)
from gossip.identity import NodeId, Verifier
from gossip.transfer.download import (
    DOWNLOAD_TIMER,
    Arrived,
    Ask,
    Complete,
    Download,
    DownloadEvent,
    Lacking,
    Lied,
    Patience,
    SourceUp,
    Starved,
    Waited,
)
from gossip.transfer.manifest import Manifest, chunk_name, content_name, cut, read_manifest
from gossip.transfer.messages import (
    Absent,
    Answer,
    Chunk,
    GetChunk,
    GetManifest,
    ManifestIs,
    Priority,
    Request,
)
from simulations.scenario import Snapshots

TAKE_TIMER: Final = "take snapshot"
_ANSWER_MS: Final = 300
_AGAIN_MS: Final = 1_500
_KEPT: Final = 2


class AskSnapshot(Wire, frozen=True, tag="ask_snapshot"):
    """Ask for the proof of the newest snapshot."""


class SnapshotIs(Wire, frozen=True, tag="snapshot_is"):
    """The encoded proof; empty if there is none."""

    proof: bytes


class AskContent(Wire, frozen=True, tag="ask_content"):
    """A request of `gossip.transfer.messages`, encoded."""

    request: bytes


class ContentIs(Wire, frozen=True, tag="content_is"):
    """The answer to a request, both encoded."""

    request: bytes
    answer: bytes


SnapshotMessage = AskSnapshot | SnapshotIs | AskContent | ContentIs
FederationMessage = ConsensusMessage | SnapshotMessage


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The state of a snapshot is on disk; the node is to begin anew with it."""

    height: int


def _is_ours(message: object) -> TypeGuard[SnapshotMessage]:
    return isinstance(message, SnapshotMessage)


class Contents:
    """The snapshots of one node, by name, and their chunks."""

    def __init__(self) -> None:
        self.made: list[tuple[int, Digest]] = []
        self._manifests: dict[bytes, Manifest] = {}
        self._chunks: dict[bytes, bytes] = {}

    def add(self, pieces: Iterable[bytes]) -> Digest:
        """Cut a content; its name."""
        chunks: dict[bytes, bytes] = {chunk_name(chunk): chunk for chunk in cut(pieces)}
        manifest = Manifest(sum(map(len, chunks.values())), tuple(chunks))
        self._chunks.update(chunks)
        name = content_name(manifest)
        self._manifests[name] = manifest
        return name

    def answer(self, request: Request) -> Answer:
        """What somebody who asks is told."""
        if isinstance(request, GetManifest):
            manifest = self._manifests.get(request.content)
            return Absent() if manifest is None else ManifestIs(manifest)
        chunk = self._chunks.get(request.chunk)
        return Absent() if chunk is None else Chunk(False, chunk)  # noqa: FBT003 - by position on the wire


class SnapshotNode(Engine):
    """An engine among nodes that make snapshots, and take them where they are far behind."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        verifier: Verifier,
        chain: KeyValueReader,
        habits: Snapshots,
        **rest: Any,  # noqa: ANN401 - those of `Engine`
    ) -> None:
        super().__init__(genesis=genesis, verifier=verifier, chain=chain, **rest)
        self._genesis, self._judge, self.disk, self._habits = genesis, verifier, chain, habits
        self.contents = Contents()
        self._is_due = False
        self._members: set[NodeId] = set()
        self._taking: Taking | None = None
        self._refused: set[bytes] = set()
        self._rests = False

    def handle(self, now_ms: int, event: EngineEvent) -> list[Effect]:
        """See `Engine`."""
        if self._is_due:
            self._is_due = False
            self._make()
        out: list[Effect]
        match event:
            case Received(peer, message) if _is_ours(message):
                out = self._on_line(now_ms, peer, message)
            case TimerFired(name) if name in (TAKE_TIMER, DOWNLOAD_TIMER):
                out = self._on_take_timer(now_ms, name)
            case Started():
                out = super().handle(now_ms, event)
                out += super().handle(now_ms, BoundSync(self._habits.behind))
            case _:
                if isinstance(event, PeerConnected):
                    self._members.add(event.peer)
                elif isinstance(event, PeerDisconnected):
                    self._members.discard(event.peer)
                out = super().handle(now_ms, event)
        for one in out:
            if isinstance(one, Notify) and isinstance(one.what, BlockExecuted):
                self._is_due |= one.what.block.height % self._habits.every == 0
        return [*out, *self._look()]

    # Making and giving

    def _make(self) -> None:
        height = int.from_bytes(self.disk.get(HEIGHT_KEY) or b"", "big")
        cut_at = len(STATE_PREFIX)
        pairs = ((key[cut_at:], value) for key, value in self.disk.scan(STATE_PREFIX))
        made = self.contents.made
        made.append((height, self.contents.add(state_pages(pairs))))
        del made[:-_KEPT]

    def newest(self) -> SnapshotProof | None:
        """The proof of the newest snapshot that can be proven."""
        proofs = (prove(self.disk, height, name) for height, name in reversed(self.contents.made))
        return next((proof for proof in proofs if proof is not None), None)

    def _on_line(self, now_ms: int, peer: NodeId, message: SnapshotMessage) -> list[Effect]:
        try:
            match message:
                case AskSnapshot():
                    proof = self.newest()
                    return [Send(peer, SnapshotIs(b"" if proof is None else encode(proof)))]
                case AskContent():
                    request: Request = decode(message.request, Request)  # type: ignore[arg-type]
                    answer = encode(self.contents.answer(request))
                    return [Send(peer, ContentIs(message.request, answer))]
                case SnapshotIs():
                    proof = decode(message.proof, SnapshotProof) if message.proof else None
                    return self._on_proof(peer, proof)
                case ContentIs() if self._taking is None:
                    return []
                case ContentIs():
                    return self._gone_on(self._taking.on_answer(now_ms, peer, message))
        except DecodeError as error:
            return [Rejected(peer, f"about a snapshot: {error}")]

    # Taking

    def _look(self) -> list[Effect]:
        """Begin to take one where this node is far behind."""
        behind = self.known_height - self.height
        if self._taking is not None or self._rests or behind < self._habits.behind:
            return []
        self._taking = Taking(self.disk)
        asked = tuple(sorted(self._members & set(self.validators.nodes)))
        return [Broadcast(asked, AskSnapshot()), SetTimer(TAKE_TIMER, _ANSWER_MS)]

    def _on_proof(self, peer: NodeId, proof: SnapshotProof | None) -> list[Effect]:
        taking = self._taking
        if taking is None or taking.is_fetching or proof is None:
            return []
        if proof.height <= self.height or proof.state in self._refused:
            return []
        fault = proof_fault(proof, self._genesis, self._judge)
        if fault is not None:
            return [Rejected(peer, f"a snapshot's proof: {fault}")]
        taking.proofs[peer] = proof
        return []

    def _on_take_timer(self, now_ms: int, name: str) -> list[Effect]:
        if self._taking is None:
            self._rests = False
            return super().handle(now_ms, BoundSync(self._habits.behind))
        if name == DOWNLOAD_TIMER:
            return self._gone_on(self._taking.on_waited(now_ms))
        return self._gone_on(self._taking.next_offer())

    def _gone_on(self, out: list[Effect]) -> list[Effect]:
        """See how the attempt stands: under way, done, or without any offer left."""
        taking = self._taking
        assert taking is not None
        self._refused |= taking.refused
        if taking.writes:
            assert taking.offer is not None
            height = taking.offer.proof.height
            return [*out, Persist(Store.CHAIN, tuple(taking.writes)), Notify(SnapshotTaken(height))]
        if taking.is_over:
            self._taking, self._rests = None, True
            out.append(SetTimer(TAKE_TIMER, _AGAIN_MS))
            out += super().handle(self._now_ms, BoundSync(None))
        return out


class Taking:
    """One attempt: proofs are gathered, then the offers are tried, the best first."""

    def __init__(self, disk: KeyValueReader) -> None:
        self._disk = disk
        self.proofs: dict[NodeId, SnapshotProof] = {}
        self.refused: set[bytes] = set()
        self.writes: list[Any] = []
        """What puts the chain database after the snapshot, once it is whole and has the certified root."""
        self.offer: Offer | None = None
        self.is_over = False
        self._offers: list[Offer] | None = None
        self._manifest: Manifest | None = None
        self._chunks: dict[int, bytes] = {}
        self._download: Download | None = None

    @property
    def is_fetching(self) -> bool:
        """Whether it is too late for another proof."""
        return self._offers is not None

    def next_offer(self) -> list[Effect]:
        """Ask those who make the next offer for the manifest of its state."""
        if self._offers is None:
            self._offers = ranked(self.proofs)
        self._manifest, self._download, self._chunks = None, None, {}
        if not self._offers:
            self.is_over = True
            return []
        self.offer = self._offers.pop(0)
        request = encode(GetManifest(self.offer.proof.state))
        return [
            Broadcast(self.offer.peers, AskContent(request)),
            SetTimer(TAKE_TIMER, 2 * _ANSWER_MS),
        ]

    def on_answer(self, now_ms: int, peer: NodeId, message: ContentIs) -> list[Effect]:
        """A manifest or a chunk. Raises `DecodeError`."""
        if self.offer is None or peer not in self.offer.peers:
            return []
        request: Request = decode(message.request, Request)  # type: ignore[arg-type]
        answer: Answer = decode(message.answer, Answer)  # type: ignore[arg-type]
        if isinstance(request, GetManifest):
            return self._on_manifest(now_ms, peer, answer)
        if self._manifest is None or request.chunk not in self._manifest.chunks:
            return []
        index = self._manifest.chunks.index(request.chunk)
        match answer:
            case Chunk() if chunk_name(answer.data) == request.chunk:
                self._chunks[index] = answer.data
                return self._fetched(now_ms, Arrived(peer, index))
            case Absent():
                return self._fetched(now_ms, Lacking(peer, index))
            case _:
                return self._fetched(now_ms, Lied(peer, "it sent something else"))

    def _on_manifest(self, now_ms: int, peer: NodeId, answer: Answer) -> list[Effect]:
        assert self.offer is not None
        if not isinstance(answer, ManifestIs):
            return []
        manifest = read_manifest(encode(answer.manifest), self.offer.proof.state)
        if self._download is None:
            self._manifest = manifest
            missing = frozenset(range(len(manifest.chunks)))
            self._download = Download(missing, Patience(least_ms=_ANSWER_MS))
        return self._fetched(now_ms, SourceUp(peer))

    def on_waited(self, now_ms: int) -> list[Effect]:
        """The download's timer has run out."""
        return self._fetched(now_ms, Waited())

    def _fetched(self, now_ms: int, event: DownloadEvent) -> list[Effect]:
        if self._download is None or self._manifest is None:
            return []
        out: list[Effect] = []
        for effect in self._download.handle(now_ms, event):
            match effect:
                case Ask():
                    request = GetChunk(self._manifest.chunks[effect.index], Priority.STATE)
                    out.append(Send(effect.peer, AskContent(encode(request))))
                case SetTimer():
                    out += [effect, SetTimer(TAKE_TIMER, 10 * _ANSWER_MS)]
                case Complete():
                    return out + self._whole()
                case Starved():
                    return out + self.next_offer()
                case _:
                    pass
        self._download.check_invariants()
        return out

    def _whole(self) -> list[Effect]:
        """All chunks are here: what they come to is taken, or refused for good."""
        assert self.offer is not None
        proof = self.offer.proof
        present = [key for key, _ in self._disk.scan(STATE_PREFIX)]
        pieces = (self._chunks[index] for index in sorted(self._chunks))
        try:
            self.writes = restored(proof, read_state(pieces), present)
        except SnapshotError as error:
            self.refused.add(proof.state)
            refusals: list[Effect] = [
                Rejected(peer, f"a snapshot's state: {error}") for peer in self.offer.peers
            ]
            return refusals + self.next_offer()
        return []
