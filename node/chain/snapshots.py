"""Snapshots in the daemon: made now and then and given to members; taken from them by a node that is far behind.

A snapshot's state is a content (`gossip.transfer`): equal on all honest nodes, so it comes from several at once, and a
fetch that was cut off goes on where it was. Its proof is asked for on a stream of its own and checked with the genesis
before anything is fetched. A node that takes one writes it as one batch into its chain database and starts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
import trio

from consensus.engine import BoundSync
from consensus.execution import BlockExecuted
from consensus.genesis import Genesis
from consensus.ledger.machine import HEIGHT_KEY
from consensus.ledger.state import STATE_PREFIX
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
from gossip.codec import DecodeError, Digest, decode, encode
from gossip.effects import Write
from gossip.identity import Ed25519Verifier, NodeId
from gossip.transfer.messages import Priority
from gossip.transfer.service import ContentService
from gossip.transfer.store import ContentError
from gossip.transport import Stream, StreamError, Transport
from node.chain.service import ChainService
from node.errors import NodeError
from node.founding import load_genesis
from node.rounds import next_round
from node.storage.durable import replace_file
from node.storage.home import Home
from node.storage.store import LevelStore, StagedStore

log = structlog.get_logger(__name__)

PROTOCOL: Final = "/bizra/snapshot/1"
_KEPT: Final = 2
_ASKED: Final = 16
_ANSWER_S: Final = 10.0
_LOOK_S: Final = 1.0
_AGAIN_S: Final = 30.0


class NoSnapshotError(NodeError):
    """There is no snapshot to be had, or it can't be made; the text says why."""

    code = "no_snapshot"


class Made(msgspec.Struct, frozen=True):
    """A snapshot of this node: the height, and the content that holds the state."""

    height: int
    content: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot that was fetched and checked: what puts the chain database after it."""

    height: int
    writes: list[Write]


@dataclass(frozen=True, slots=True)
class Habits:
    """After how many blocks a snapshot is made, and from how many blocks behind on one is taken; 0: never."""

    every: int
    behind: int


class Snapshots:
    """Makes, gives and takes. `ready` is set when one was taken that this node should begin anew with."""

    def __init__(
        self,
        *,
        home: Home,
        genesis: Genesis,
        link: Transport,
        contents: ContentService,
        chain: ChainService,
        store: StagedStore,
        habits: Habits,
    ) -> None:
        self._list = home.path / "snapshots.json"
        self._genesis, self._link, self._contents = genesis, link, contents
        self._chain, self._store, self._habits = chain, store, habits
        self._making = trio.Lock()
        self._due = trio.Event()
        self._refused: set[bytes] = set()
        self.ready = trio.Event()
        self.taken: Taken | None = None
        link.serve(PROTOCOL, self._serve)
        chain.listen(self._on_report)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._make_when_due)
            if self._habits.behind:
                nursery.start_soon(self._take_when_behind)

    @property
    def own_height(self) -> int:
        """Where this node stands."""
        return self._chain.engine.height

    # Making

    def listed(self) -> list[Made]:
        """What was made and is still here, oldest first."""
        try:
            made = msgspec.json.decode(self._list.read_bytes(), type=list[Made])
        except (OSError, msgspec.DecodeError):
            return []
        return [one for one in made if self._contents.store.find(bytes.fromhex(one.content))]

    async def make(self) -> Made:
        """One of the newest block that is on disk. Raises `NoSnapshotError`."""
        async with self._making:
            try:
                made = await trio.to_thread.run_sync(self._make)
            except ContentError as error:
                raise NoSnapshotError(f"no snapshot could be made: {error}") from None
            log.info("snapshot made", height=made.height, content=made.content)
            return made

    def _make(self) -> Made:
        """In a thread."""
        with self._store.disk.frozen() as frozen:
            height = int.from_bytes(frozen.get(HEIGHT_KEY) or b"", "big")
            if not height:
                raise NoSnapshotError("there is no block yet, so nothing to make a snapshot of")
            cut = len(STATE_PREFIX)
            pairs = ((key[cut:], value) for key, value in frozen.each(STATE_PREFIX))
            name = self._contents.store.add(state_pages(pairs), keep=True)
        made = Made(height, name.hex())
        before = [one for one in self.listed() if one.height != height]
        for old in before[: max(0, len(before) - _KEPT + 1)]:
            if old.content != made.content:
                self._contents.store.remove(bytes.fromhex(old.content))
        replace_file(self._list, msgspec.json.encode([*before[-_KEPT + 1 :], made]))
        return made

    def _on_report(self, what: object) -> None:
        every = self._habits.every
        if isinstance(what, BlockExecuted) and every and what.block.height % every == 0:
            self._due.set()

    async def _make_when_due(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            try:
                await self.make()
            except NoSnapshotError as error:
                log.warning("no snapshot", reason=str(error))

    # Giving

    def proof_of(self, made: Made) -> SnapshotProof | None:
        """Its proof; None while a certificate is missing."""
        return prove(self._store, made.height, Digest(bytes.fromhex(made.content)))

    def newest(self) -> SnapshotProof | None:
        """The proof of the newest one that can be proven."""
        proofs = (self.proof_of(made) for made in reversed(self.listed()))
        return next((proof for proof in proofs if proof is not None), None)

    def file(self, made: Made) -> Iterator[bytes]:
        """A snapshot as one file: the length of its proof (4 bytes), the proof, the state. Raises `NoSnapshotError`."""
        proof = self.proof_of(made)
        if proof is None:
            raise NoSnapshotError(
                f"the block at height {made.height} is not certified yet; try again in a moment"
            )
        raw = encode(proof)
        yield len(raw).to_bytes(4, "big") + raw
        yield from self._contents.store.read(bytes.fromhex(made.content))

    async def _serve(self, peer: NodeId, stream: Stream) -> None:
        if not self._contents.admits(peer):
            return
        with trio.fail_after(_ANSWER_S):
            await stream.receive()
            proof = self.newest()
            await stream.send(b"" if proof is None else encode(proof))
            await stream.close()

    # Taking

    async def _take_when_behind(self) -> None:
        """Until there is one, or nobody has any, no blocks are fetched."""
        engine, behind = self._chain.engine, self._habits.behind
        self._chain.post(BoundSync(behind))
        while not self.ready.is_set():
            await next_round(_LOOK_S)
            if engine.known_height - engine.height < behind:
                continue
            try:
                await self.take(engine.height + max(1, behind // 2))
            except NoSnapshotError as error:
                log.info("no snapshot taken", reason=str(error))
                self._chain.post(BoundSync(None))
                await trio.sleep(_AGAIN_S)

    async def take(self, least_height: int) -> int:
        """Fetch the newest that members offer, at `least_height` or above; its height. Raises `NoSnapshotError`.

        Sets `ready`: the node is to begin anew with it.
        """
        offers = await self._offers(least_height)
        reasons = []
        for offer in offers:
            try:
                self.taken = await self._fetch(offer)
            except (ContentError, SnapshotError) as error:
                reasons.append(f"the one of height {offer.proof.height}: {error}")
                continue
            log.info("snapshot taken", height=offer.proof.height, peers=len(offer.peers))
            self.ready.set()
            return offer.proof.height
        raise NoSnapshotError(
            "; ".join(reasons)
            or f"no connected member offers a snapshot of height {least_height} or above; "
            "make one there with: bizra-node snapshot create"
        )

    async def _fetch(self, offer: Offer) -> Taken:
        proof = offer.proof
        name = Digest(proof.state)
        await self._contents.fetch(name, offer.peers, priority=Priority.STATE)
        present = [key for key, _ in self._store.scan(STATE_PREFIX)]

        def check() -> list[Write]:
            return restored(proof, read_state(self._contents.store.read(name)), present)

        try:
            writes = await trio.to_thread.run_sync(check)
        except SnapshotError:
            self._refused.add(proof.state)
            self._contents.store.remove(name)
            log.warning(
                "snapshot refused", height=proof.height, peers=[one.hex() for one in offer.peers]
            )
            raise
        return Taken(proof.height, writes)

    async def _offers(self, least_height: int) -> list[Offer]:
        """Proven offers, the best first."""
        proofs: dict[NodeId, SnapshotProof] = {}

        async def ask(peer: NodeId) -> None:
            with trio.move_on_after(_ANSWER_S):
                proof = await self._ask(peer)
                if proof is None or proof.height < least_height or proof.state in self._refused:
                    return
                fault = await trio.to_thread.run_sync(
                    proof_fault, proof, self._genesis, Ed25519Verifier()
                )
                if fault is None:
                    proofs[peer] = proof
                else:
                    log.warning("snapshot's proof refused", peer=peer.hex(), reason=fault)

        members = sorted(peer for peer in self._link.peers() if self._contents.admits(peer))
        async with trio.open_nursery() as nursery:
            for peer in members[:_ASKED]:
                nursery.start_soon(ask, peer)
        return ranked(proofs)

    async def _ask(self, peer: NodeId) -> SnapshotProof | None:
        try:
            async with await self._link.open_stream(peer, PROTOCOL) as stream:
                await stream.send(b"newest")
                raw = await stream.receive()
            return decode(raw, SnapshotProof) if raw else None
        except (StreamError, DecodeError) as error:
            log.info("no snapshot from a peer", peer=peer.hex(), reason=str(error))
            return None


def begin_with(home: Home, taken: Taken) -> None:
    """Put the chain database of a stopped node after a snapshot. Raises `StoreError`."""
    with LevelStore(home.chain) as chain:
        chain.write(taken.writes)


def restore_file(home: Home, pieces: Iterable[bytes]) -> int:
    """Check a snapshot's file with the home's genesis and begin with it; its height.

    The daemon must be stopped. Raises `NoSnapshotError`, `FoundingError`, `StoreError`.
    """
    genesis = load_genesis(home)
    if genesis is None:
        raise NoSnapshotError(
            f"{home.path} belongs to no federation yet; join first: bizra-node run --bootstrap ADDRESS"
        )
    proof, state = _parted(iter(pieces))
    fault = proof_fault(proof, genesis, Ed25519Verifier())
    if fault is not None:
        raise NoSnapshotError(f"the snapshot does not hold: {fault}")
    with LevelStore(home.chain) as chain:
        own = int.from_bytes(chain.get(HEIGHT_KEY) or b"", "big")
        if own >= proof.height:
            raise NoSnapshotError(
                f"this node is at height {own} already, the snapshot is of {proof.height}"
            )
        present = [key for key, _ in chain.scan(STATE_PREFIX)]
        try:
            chain.write(restored(proof, read_state(state), present))
        except SnapshotError as error:
            raise NoSnapshotError(f"the snapshot does not hold: {error}") from None
    return proof.height


def _parted(pieces: Iterator[bytes]) -> tuple[SnapshotProof, Iterator[bytes]]:
    """The proof at the beginning of a file, and the rest."""
    head = bytearray()
    while len(head) < 4 or len(head) < 4 + int.from_bytes(head[:4], "big"):  # noqa: PLR2004 - bytes of the length
        piece = next(pieces, b"")
        if not piece or len(head) > 64 * 2**20:
            raise NoSnapshotError("this is no snapshot, or it was cut off")
        head += piece
    end = 4 + int.from_bytes(head[:4], "big")
    try:
        proof = decode(bytes(head[4:end]), SnapshotProof)
    except DecodeError as error:
        raise NoSnapshotError(f"this is no snapshot: {error}") from None

    def rest() -> Iterator[bytes]:
        yield bytes(head[end:])
        yield from pieces

    return proof, rest()
