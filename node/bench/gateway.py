"""What the gateway carries: submissions at a fixed rate, finality over the WebSocket, reads; on a real daemon.

Submissions leave on a schedule, whether or not earlier ones are answered, and a late answer counts as late. The
transactions are signed before. One daemon that validates alone does everything that a node does for its own users;
what a federation costs beside it is `bench consensus`.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import httpx2
import trio

from consensus.genesis import Genesis
from consensus.messages import Transactions
from consensus.operations.transactions import Transaction
from gossip.codec import encode
from node.bench.consensus import fund
from node.bench.doors import CONNECTIONS, Answered, Target, drive, has_wrk
from node.bench.ledger import LedgerFigures, measure_ledger
from node.bench.limits import cpu_seconds
from node.bench.load import LoadError
from node.bench.socket import BinarySocket
from node.bench.stream import drive_stream, has_compiler
from node.bench.wallets import Wallets
from node.client.event_stream import EventStream
from node.client.programs import AsyncClient
from node.demo.cluster import Cluster, Member

BATCHED_PER_S = 5_000
SINGLE_PER_S = 1_000
_BATCHES_PER_S = 50
_SENDERS = 200
_SPARE = 1.5
"""So much more is at hand for wrk than it is to send: it must not begin again."""
_FAREWELL_S = 15
_SETTINGS = "quota_per_s = 1000000000\n"


@dataclass(frozen=True, slots=True)
class Submissions:
    """One kind of door at one rate. Latencies are from the moment it was due to its answer."""

    door: str
    offered_per_s: int
    taken_per_s: float
    submit_p50_ms: float
    submit_p99_ms: float
    final_p50_ms: float
    final_p99_ms: float
    events_per_s: float
    daemon_cpu_ms_per_transaction: float
    client_cpu_ms_per_transaction: float


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """The headline figures are of the streaming door, by the compiled generator if there is a compiler, and by wrk.

    Those of finality and events are from the run of the Python generator, which listens too.
    """

    submissions_per_s: float
    submit_p50_ms: float
    submit_p99_ms: float
    reads_per_s: float | None
    read_p50_ms: float | None
    cache_hit_p50_ms: float
    events_per_s: float
    cpu_ms_per_request: float | None
    batched: tuple[Submissions, ...]
    batches_by_wrk: Answered | None
    """The door for batches once more, by a compiled load generator; each request is a batch of 100."""
    stream_compiled: Answered | None
    """The streaming door once more, by a compiled load generator; each request is a message of 100."""
    single: Answered | None
    reads: Answered | None
    cached_reads: Answered | None
    in_process: LedgerFigures


def measure(seconds: float, blocks: int, say: Callable[[str], None]) -> GatewayFigures:
    """Raises `NodeError`."""
    say(f"in this process: admission, {blocks} full blocks, replay, read models")
    in_process = measure_ledger(blocks)
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        say("starting a daemon")
        daemon = cluster.start("ada", (), None, _SETTINGS)
        return _Bench(daemon, folder, seconds, say).run(in_process)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    def __init__(
        self, daemon: Member, folder: Path, seconds: float, say: Callable[[str], None]
    ) -> None:
        self._daemon, self._folder, self._seconds, self._say = daemon, folder, seconds, say
        genesis = Genesis.load(daemon.home.genesis.read_bytes())
        accounts = Wallets(genesis.federation_id, _SENDERS, bytes.fromhex(daemon.node_id))
        self._signers = accounts.signers
        by_wrk = round(seconds * _SPARE * BATCHED_PER_S)
        total = by_wrk + round(seconds * (3 * BATCHED_PER_S + 4 * SINGLE_PER_S)) + 4 * _SENDERS
        each = max(1, total // _SENDERS)
        fund(daemon, accounts, each)
        say(f"signing {total} transactions")
        wallets = accounts.sign(each, payload_bytes=0, operations=1)
        # Senders take turns, so that every one's nonces come in order.
        self._unsent = (one for turn in zip(*wallets, strict=True) for one in turn)

    def run(self, in_process: LedgerFigures) -> GatewayFigures:
        batched = []
        for door in ("stream", "batch"):
            self._say(f"{BATCHED_PER_S} submissions a second over the door {door!r}")
            batched.append(trio.run(self._batched, door))
        single = reads = cached = batches = stream = None
        if has_compiler():
            stream = self._stream_compiled()
        else:
            self._say("no C compiler is installed (Debian: gcc): no compiled load for the stream")
        if has_wrk():
            batches = self._batches_by_wrk()
            single, reads, cached = self._by_wrk()
        else:
            self._say("wrk is not installed (Debian: wrk): no single submissions, no reads")
        streamed = batched[0]
        each = BATCHED_PER_S // _BATCHES_PER_S
        return GatewayFigures(
            submissions_per_s=streamed.taken_per_s if stream is None else each * stream.per_s,
            submit_p50_ms=streamed.submit_p50_ms if stream is None else stream.p50_ms,
            submit_p99_ms=streamed.submit_p99_ms if stream is None else stream.p99_ms,
            reads_per_s=None if reads is None else reads.per_s,
            read_p50_ms=None if reads is None else reads.p50_ms,
            cache_hit_p50_ms=in_process.cache_hit_p50_ms,
            events_per_s=streamed.events_per_s,
            cpu_ms_per_request=None if single is None else single.daemon_cpu_ms_per_request,
            batched=tuple(batched),
            batches_by_wrk=batches,
            stream_compiled=stream,
            single=single,
            reads=reads,
            cached_reads=cached,
            in_process=in_process,
        )

    def _take(self, count: int) -> list[Transaction]:
        taken = list(islice(self._unsent, count))
        if len(taken) < count:
            raise LoadError("the signed transactions are used up")
        return taken

    async def _batched(self, door: str) -> Submissions:
        url, pid = self._daemon.client.url, self._daemon.process.pid
        each = BATCHED_PER_S // _BATCHES_PER_S
        bodies = [self._take(each) for _ in range(round(self._seconds * _BATCHES_PER_S))]
        spent, own = cpu_seconds(pid), time.process_time()
        course = _Course(bodies)
        client = AsyncClient(url)
        try:
            async with client.events() as happenings, trio.open_nursery() as nursery:
                nursery.start_soon(course.listen, happenings)
                if door == "stream":
                    async with BinarySocket(url, "/api/v2/transactions/stream") as socket:
                        await course.over_socket(socket)
                else:
                    await course.over_http(url)
                with trio.move_on_after(_FAREWELL_S):
                    await course.all_final.wait()
                if not course.all_final.is_set():
                    raise LoadError(
                        f"not everything was final {_FAREWELL_S} s after the last answer"
                    )
                nursery.cancel_scope.cancel()
        finally:
            await client.close()
        count = len(bodies) * each
        return Submissions(
            door=door,
            offered_per_s=BATCHED_PER_S,
            taken_per_s=round(count / course.seconds, 1),
            submit_p50_ms=_share_ms(course.answered_s, 0.5),
            submit_p99_ms=_share_ms(course.answered_s, 0.99),
            final_p50_ms=_share_ms(course.final_s, 0.5),
            final_p99_ms=_share_ms(course.final_s, 0.99),
            events_per_s=round(course.events / course.heard_s, 1),
            daemon_cpu_ms_per_transaction=round(1000 * (cpu_seconds(pid) - spent) / count, 4),
            client_cpu_ms_per_transaction=round(1000 * (time.process_time() - own) / count, 4),
        )

    def _bodies(self, count: int) -> list[bytes]:
        each = BATCHED_PER_S // _BATCHES_PER_S
        return [
            encode(Transactions(tuple(one.raw for one in self._take(each)))) for _ in range(count)
        ]

    def _stream_compiled(self) -> Answered:
        self._say(f"{BATCHED_PER_S} submissions a second over the stream, by a compiled generator")
        target = Target(self._daemon.client.url, self._daemon.process.pid, self._folder)
        bodies = self._bodies(round(self._seconds * _BATCHES_PER_S))
        return drive_stream(target, bodies, per_s=_BATCHES_PER_S)

    def _batches_by_wrk(self) -> Answered:
        self._say(f"{BATCHED_PER_S} submissions a second in batches, by wrk")
        target = Target(self._daemon.client.url, self._daemon.process.pid, self._folder)
        bodies = self._bodies(round(_SPARE * self._seconds * _BATCHES_PER_S))
        lines = [one.hex() for one in bodies]
        done = drive(target, "BATCH", lines, seconds=self._seconds, per_s=_BATCHES_PER_S)
        if done.refused or done.broken:
            raise LoadError(f"{done.refused} batches were refused: {done}")
        # What wrk did not come to is sent as well, or the senders' next nonces would wait for it.
        with httpx2.Client(base_url=target.url, trust_env=False, timeout=30) as http:
            for body in bodies[max(0, done.requests - CONNECTIONS) :]:
                http.post("/api/v2/transactions/batch", content=body)
        return done

    def _by_wrk(self) -> tuple[Answered, Answered, Answered]:
        target = Target(self._daemon.client.url, self._daemon.process.pid, self._folder)

        def driven(kind: str, lines: Sequence[str], per_s: float) -> Answered:
            return drive(target, kind, lines, seconds=self._seconds, per_s=per_s)

        self._say(f"{SINGLE_PER_S} submissions a second one by one, by wrk")
        singles = self._take(round(1.5 * SINGLE_PER_S * self._seconds))
        bodies = [f'{{"raw": "{one.raw.hex()}"}}' for one in singles]
        single = driven("POST", bodies, SINGLE_PER_S)
        if single.refused or single.broken:
            raise LoadError(f"{single.refused} single submissions were refused: {single}")
        self._say("reads by wrk: lists made from read models, then one list from the cache")
        # Each list is asked for once in a long while, so that hardly any comes from the cache.
        lists = [
            f"/api/v2/accounts/{signer.public.hex()}/transactions?limit={limit}"
            for limit in range(1, 101)
            for signer in self._signers
        ]
        reads = driven("GET", lists, 0)
        cached = driven("GET", ["/api/v2/accounts?limit=20"], 0)
        return single, reads, cached


class _Course:
    """One run of submissions on a schedule."""

    def __init__(self, batches: Sequence[Sequence[Transaction]]) -> None:
        self._batches = batches
        self._due_s: dict[str, float] = {}
        self.answered_s: list[float] = []
        self.final_s: list[float] = []
        self.events = 0
        self.all_final = trio.Event()
        self._began = self._ended = self._first = self._last = 0.0

    @property
    def seconds(self) -> float:
        """From the first submission to the last answer."""
        return self._ended - self._began

    @property
    def heard_s(self) -> float:
        """From the first event to the last."""
        return max(1e-3, self._last - self._first)

    def _schedule(self) -> Iterator[tuple[float, bytes]]:
        """When each batch is due, and its bytes."""
        self._began = trio.current_time()
        for at, batch in enumerate(self._batches):
            due = self._began + at / _BATCHES_PER_S
            self._due_s.update((one.id.hex(), due) for one in batch)
            yield due, encode(Transactions(tuple(one.raw for one in batch)))

    async def over_socket(self, socket: BinarySocket) -> None:
        """One message a batch; answers come in the same order."""
        sent: list[float] = []

        async def answers() -> None:
            for _ in self._batches:
                answer = await socket.receive()
                if answer.get("refused", True):
                    raise LoadError(f"a batch was not taken whole: {str(answer)[:300]}")
                self._answered(sent[len(self.answered_s)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers)
            for due, body in self._schedule():
                await trio.sleep_until(due)
                sent.append(due)
                await socket.send(body)

    async def over_http(self, url: str) -> None:
        """One request a batch, several under way if it must be."""
        async with (
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
            trio.open_nursery() as nursery,
        ):

            async def post(due: float, body: bytes) -> None:
                response = await http.post("/api/v2/transactions/batch", content=body)
                if response.status_code != httpx2.codes.ACCEPTED or response.json()["refused"]:
                    raise LoadError(f"a batch was not taken whole: {response.text[:300]}")
                self._answered(due)

            for due, body in self._schedule():
                await trio.sleep_until(due)
                nursery.start_soon(post, due, body)

    def _answered(self, due: float) -> None:
        self._ended = trio.current_time()
        self.answered_s.append(self._ended - due)

    async def listen(self, happenings: EventStream) -> None:
        """Notes when each transaction is final."""
        wanted = sum(map(len, self._batches))
        async for one in happenings:
            if one.event == "cut":
                raise LoadError("the subscriber was too slow and was cut off")
            now = trio.current_time()
            self._first = self._first or now
            self._last = now
            self.events += 1
            if one.cursor is not None and one.tx_hash is not None:
                due = self._due_s.pop(one.tx_hash, None)
                if due is not None:
                    self.final_s.append(now - due)
                if len(self.final_s) == wanted:
                    self.all_final.set()


def _share_ms(values: list[float], share: float) -> float:
    """The time that this share of them does not exceed."""
    ordered = sorted(values) or [math.nan]
    return round(1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 2)


def as_json(figures: GatewayFigures) -> dict[str, object]:
    """The figures with the names that the command prints."""
    return asdict(figures)
