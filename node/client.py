"""A typed client of a node's HTTP interface, for the command line and for scripts.

    with Client.of_home(Home(path)) as client:
        print(client.status().height)

    async with Client.of_home(Home(path)) as client:  # under Trio or asyncio: `async_client.py`
        print((await client.status()).height)

It finds the daemon by the file `api.json` of its home and shows the owner's token where one is
needed. Ids may be given by their first digits where that is unambiguous.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import httpx2
import msgspec

from node.answers import (
    Answer,
    NotReachableError,
    RefusedError,
    StillWaitingError,
    decoded,
    path_part,
    unreachable,
)
from node.gateway.list_views import ProjectionsView
from node.gateway.token_views import NewTokenView, TokensView
from node.gateway.views import (
    AccountView,
    AdmissionView,
    BackendsView,
    BackendView,
    BlocksView,
    BlockView,
    CachesView,
    ContentsView,
    ContentView,
    DeedView,
    EventLine,
    FetchView,
    GroupView,
    InviteView,
    JsonObject,
    OfferingView,
    ParametersView,
    PeersView,
    QueuedView,
    QueueView,
    RegistrationView,
    RegistryView,
    SnapshotsView,
    SnapshotView,
    SpreadsView,
    SpreadView,
    StatusView,
    TasksView,
    TaskView,
    TransactionView,
    TrustBookView,
    TrustView,
    ValidatorsView,
)
from node.home import Home

if TYPE_CHECKING:
    from node.async_client import AsyncClient

__all__ = ["Client", "NotReachableError", "RefusedError", "StillWaitingError"]

FINAL_TRANSACTION = frozenset({"finalized", "failed", "rejected", "expired"})
FINAL_TASK = frozenset({"settled", "disputed", "failed", "cancelled"})

_TIMEOUT_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


class Client:
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    def __init__(self, url: str, read_token: Callable[[], str] | None = None) -> None:
        self._url, self._read_token = url, read_token
        # The environment's proxies are not for loopback.
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=_TIMEOUT_S)

    @property
    def url(self) -> str:
        """Where the node's interface is."""
        return self._url

    @classmethod
    def of_home(cls, home: Home) -> Self:
        """The client of the daemon that runs in a home."""
        where = home.read_api()
        if where is None or not _is_alive(where.pid):
            raise NotReachableError(
                f"no daemon is running in the home {home.path}; "
                f"start it with: bizra-node run --home {home.path}"
            )
        return cls(where.url, home.read_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> AsyncClient:
        from node.async_client import AsyncClient  # noqa: PLC0415 - not for the command line

        self.close()
        self._twin = AsyncClient(self._url, self._read_token)
        return self._twin

    async def __aexit__(self, *_: object) -> None:
        await self._twin.close()

    def close(self) -> None:
        """Give the connections free."""
        self._http.close()

    # Questions

    def not_ready(self) -> str | None:
        """Why the node can't do its work yet, or None."""
        response = self._send("GET", "/ready")
        return msgspec.json.decode(response.content, type=_Readiness).reason

    def status(self) -> StatusView:
        """The node at a glance."""
        return self._get("/api/v2/status", StatusView)

    def peers(self, *, applicants: bool = False) -> PeersView:
        """The peer table, or who asks to be let in."""
        query = "?applicants=1" if applicants else ""
        return self._get(f"/api/v2/peers{query}", PeersView)

    def validators(self) -> ValidatorsView:
        """Who decides the next block."""
        return self._get("/api/v2/validators", ValidatorsView)

    def account(self, name: str) -> AccountView:
        """A balance and the next nonce."""
        return self._get(f"/api/v2/accounts/{path_part(name)}", AccountView)

    def block(self, name: str) -> BlockView:
        """A block by height or hash."""
        return self._get(f"/api/v2/blocks/{path_part(name)}", BlockView)

    def blocks(self, limit: int, before: int | None = None) -> BlocksView:
        """The newest blocks, or those below a height."""
        below = "" if before is None else f"&before={before}"
        return self._get(f"/api/v2/blocks?limit={limit}{below}", BlocksView)

    def transaction(self, name: str) -> TransactionView:
        """Where a transaction stands."""
        return self._get(f"/api/v2/transactions/{path_part(name)}", TransactionView)

    def receipt(self, name: str) -> JsonObject:
        """The proof of what became of a transaction."""
        return self._get(f"/api/v2/transactions/{path_part(name)}/receipt", JsonObject)

    def projections(self) -> ProjectionsView:
        """The read models, and how far each is made."""
        return self._get("/api/v2/projections", ProjectionsView)

    def rebuild_projection(self, name: str) -> ProjectionsView:
        """Make a read model anew, beside everything else."""
        path = f"/api/v2/projections/{path_part(name)}/rebuild"
        return decoded(self._send("POST", path, owner=True), ProjectionsView)

    def task(self, name: str) -> TaskView:
        """A task, with its output if the node asked for it."""
        return self._get(f"/api/v2/tasks/{path_part(name)}", TaskView)

    def tasks(self, limit: int) -> TasksView:
        """The newest tasks."""
        return self._get(f"/api/v2/tasks?limit={limit}", TasksView)

    def models(self) -> JsonObject:
        """The models that can be asked, in OpenAI's form."""
        return self._get("/v1/models", JsonObject)

    def backends(self) -> BackendsView:
        """The model servers of this machine."""
        return self._get("/api/v2/backends", BackendsView)

    def tokens(self) -> TokensView:
        """The tokens of other programs."""
        return decoded(self._send("GET", "/api/v2/tokens", owner=True), TokensView)

    def create_token(
        self, name: str, scopes: Sequence[str] = (), quota_per_s: int | None = None
    ) -> NewTokenView:
        """Make a token for another program; its secret is in the answer and never told again."""
        wanted: JsonObject = {"name": name, "scopes": list(scopes)}
        if quota_per_s is not None:
            wanted["quota_per_s"] = quota_per_s
        return self._post("/api/v2/tokens", wanted, NewTokenView)

    def revoke_token(self, name: str) -> None:
        """Make a token worth nothing."""
        self._delete(f"/api/v2/tokens/{quote(name, safe='')}")

    def caches(self) -> CachesView:
        """How full the caches of answers are."""
        return self._get("/api/v2/caches", CachesView)

    def clear_caches(self) -> CachesView:
        """Forget all answers that are kept."""
        return decoded(self._send("DELETE", "/api/v2/caches", owner=True), CachesView)

    @contextmanager
    def streaming(
        self, path: str, content: JsonObject, wishes: Mapping[str, str]
    ) -> Iterator[Iterator[bytes]]:
        """A streamed answer, as its bytes come; a model may think for minutes before the first."""
        body = msgspec.json.encode(content)
        headers = {"Content-Type": "application/json", "X-Bizra-Explain": "1", **wishes}
        try:
            with self._http.stream(
                "POST", path, content=body, headers=headers, timeout=None
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer)
                yield answer.iter_raw()
        except httpx2.TransportError as error:
            raise NotReachableError(
                f"the daemon at {self._url} does not answer ({error}); "
                "start it again with: bizra-node run"
            ) from None

    def queue(self) -> QueueView:
        """The requests that wait for a model."""
        return decoded(self._send("GET", "/api/v2/queue", owner=True), QueueView)

    def queued(self, name: str) -> QueuedView:
        """One of them, with its answer."""
        return decoded(
            self._send("GET", f"/api/v2/queue/{path_part(name)}", owner=True), QueuedView
        )

    def spread(self, name: str) -> SpreadView:
        """Work over many peers, with its output."""
        path = f"/api/v2/spreads/{path_part(name)}"
        return decoded(self._send("GET", path, owner=True), SpreadView)

    def spreads(self) -> SpreadsView:
        """All of it, the newest first."""
        return decoded(self._send("GET", "/api/v2/spreads", owner=True), SpreadsView)

    def trust(self) -> TrustBookView:
        """What was found out about peers' answers."""
        return decoded(self._send("GET", "/api/v2/trust", owner=True), TrustBookView)

    # Deeds

    def withdraw(self, name: str) -> QueuedView:
        """Take a request out of the queue."""
        response = self._send("DELETE", f"/api/v2/queue/{path_part(name)}", owner=True)
        return decoded(response, QueuedView)

    def decide(self, name: str, decision: str, text: str | None = None) -> QueuedView:
        """Say what becomes of an escalated request: retry, abandon, or answer with a text."""
        said: JsonObject = {"decision": decision} | ({} if text is None else {"text": text})
        return self._post(f"/api/v2/queue/{path_part(name)}/decision", said, QueuedView)

    def submit_spread(
        self, kind: str, given: JsonObject, deadline_s: int | None = None
    ) -> SpreadView:
        """Give an input to many peers in parts."""
        request: JsonObject = {"kind": kind, "input": given}
        if deadline_s is not None:
            request["deadline_s"] = deadline_s
        return self._post("/api/v2/spreads", request, SpreadView)

    def drop_spread(self, name: str) -> SpreadView:
        """Cancel it."""
        response = self._send("DELETE", f"/api/v2/spreads/{path_part(name)}", owner=True)
        return decoded(response, SpreadView)

    def check_peer(self, node: str, model: str) -> JsonObject:
        """Ask a peer something of which the node can check the answer."""
        return self._post(f"/api/v2/trust/{path_part(node)}/check", {"model": model}, JsonObject)

    def forgive(self, node: str) -> TrustView:
        """Begin anew with a peer."""
        response = self._send("DELETE", f"/api/v2/trust/{path_part(node)}", owner=True)
        return decoded(response, TrustView)

    def submit(self, raw: bytes) -> TransactionView:
        """Hand in a signed transaction; needs no token."""
        return self._post("/api/v2/transactions", {"raw": raw.hex()}, TransactionView, owner=False)

    def transfer(self, to: str, amount: int) -> TransactionView:
        """Pay from the node's own account."""
        return self._post("/api/v2/transfers", {"to": to, "amount": str(amount)}, TransactionView)

    def add_backend(self, row: JsonObject) -> BackendView:
        """Ask one more model server: a table `[[backend]]` of config.toml."""
        return self._post("/api/v2/backends", row, BackendView)

    def remove_backend(self, name: str) -> None:
        """Ask a model server no more."""
        self._delete(f"/api/v2/backends/{quote(name, safe='')}")

    def invite(self, ttl_ms: int) -> InviteView:
        """Make an invite for one node."""
        return self._post("/api/v2/invites", {"ttl_ms": ttl_ms}, InviteView)

    def admit(self, node_id: str, *, validator: bool) -> AdmissionView:
        """Let a node in, or speak for it as a validator."""
        wanted = {"node_id": node_id, "validator": validator}
        return self._post("/api/v2/admissions", wanted, AdmissionView)

    def registry(self) -> RegistryView:
        """Validators and candidates with their stakes."""
        return self._get("/api/v2/validators/registry", RegistryView)

    def register_validator(self, name: str, stake: int) -> RegistrationView:
        """Reserve the stake and ask for a seat."""
        wanted = {"name": name, "stake": str(stake)}
        return self._post("/api/v2/validators/register", wanted, RegistrationView)

    def validator_deed(self, name: str, wanted: JsonObject) -> DeedView:
        """Activate, leave, stake, unstake, delegate, undelegate, rotate-key or remove."""
        return self._post(f"/api/v2/validators/{name}", wanted, DeedView)

    def parameters(self) -> ParametersView:
        """The federation's constants in force."""
        return self._get("/api/v2/parameters", ParametersView)

    def approve_parameter(self, name: str, value: int) -> DeedView:
        """Speak for another value of a constant."""
        return self._post("/api/v2/parameters", {"name": name, "value": value}, DeedView)

    def submit_task(
        self,
        kind: str,
        given: JsonObject,
        executor: str | None = None,
        reward: int | None = None,
        deadline_s: int | None = None,
    ) -> TaskView:
        """Hand in a task; `given` is the input of its kind."""
        request: JsonObject = {"kind": kind, "input": given}
        if executor is not None:
            request["executor"] = executor
        if reward is not None:
            request["reward"] = str(reward)
        if deadline_s is not None:
            request["deadline_s"] = deadline_s
        return self._post("/api/v2/tasks", request, TaskView)

    def submit_group(self, request: JsonObject) -> GroupView:
        """Have the same task done by several nodes: the body of `POST /api/v2/task-groups`."""
        return self._post("/api/v2/task-groups", request, GroupView)

    def group(self, name: str) -> GroupView:
        """A group of tasks and what it came to."""
        return self._get(f"/api/v2/task-groups/{path_part(name)}", GroupView)

    def offer_kinds(self, kinds: Sequence[str]) -> OfferingView:
        """Say on the ledger which kinds of task it may give this node; none takes the offer back."""
        return self._post("/api/v2/offerings", {"kinds": list(kinds)}, OfferingView)

    def cancel_task(self, name: str) -> TaskView:
        """Take back a task that nobody works on."""
        response = self._send("DELETE", f"/api/v2/tasks/{path_part(name)}", owner=True)
        return decoded(response, TaskView)

    # Contents

    def contents(self) -> ContentsView:
        """What is in the node's store."""
        return decoded(self._send("GET", "/api/v2/contents", owner=True), ContentsView)

    def add_content(self, pieces: Iterable[bytes]) -> ContentView:
        """Put bytes into the node's store, whatever their size."""
        with self._patient("POST", "/api/v2/contents", pieces) as answer:
            answer.read()
            return decoded(answer, ContentView)

    def remove_content(self, name: str) -> ContentView:
        """Forget a content here."""
        response = self._send("DELETE", f"/api/v2/contents/{path_part(name)}", owner=True)
        return decoded(response, ContentView)

    def fetch_content(self, name: str, source: str | None, *, keep: bool) -> Iterator[FetchView]:
        """Bring a content to the node; how far it is, again and again until the end."""
        wanted: JsonObject = {"keep": keep} if source is None else {"keep": keep, "from": source}
        path = f"/api/v2/contents/{path_part(name)}/fetch"
        with self._patient("POST", path, [msgspec.json.encode(wanted)]) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, FetchView)
            for line in answer.iter_lines():
                yield msgspec.json.decode(line, type=FetchView)

    def read_content(self, name: str) -> Iterator[bytes]:
        """The bytes of a content that is here."""
        with self._patient("GET", f"/api/v2/contents/{path_part(name)}", ()) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, ContentView)
            yield from answer.iter_raw()

    def leave(self) -> None:
        """Have the daemon say good-bye to the others, and end."""
        self._post("/api/v2/leave", {}, JsonObject)

    # Topics

    def publish(self, topic: str, payload: JsonObject) -> None:
        """Tell all members something on a topic."""
        self._post("/api/v2/topics", {"topic": topic, "payload": payload}, JsonObject)

    def watch_topics(self, pattern: str) -> Iterator[EventLine | int]:
        """What is published on topics that fit; a number says how many events were missed."""
        path = f"/api/v2/topics/watch?pattern={quote(pattern)}"
        with self._patient("GET", path, ()) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, EventLine)
            for line in answer.iter_lines():
                if line.startswith('{"missed"'):
                    yield int(msgspec.json.decode(line)["missed"])
                elif line:
                    yield msgspec.json.decode(line, type=EventLine)

    # Snapshots

    def snapshots(self) -> SnapshotsView:
        """Those that this node can give to others."""
        return decoded(self._send("GET", "/api/v2/snapshots", owner=True), SnapshotsView)

    def make_snapshot(self) -> SnapshotView:
        """Make one of the newest block; large states take their time."""
        with self._patient("POST", "/api/v2/snapshots", ()) as answer:
            answer.read()
            return decoded(answer, SnapshotView)

    def take_snapshot(self) -> int:
        """Take the newest from other members; the node then begins anew. Its height."""
        with self._patient("POST", "/api/v2/snapshots/take", ()) as answer:
            answer.read()
            return decoded(answer, _Height).height

    def read_snapshot(self, height: int) -> Iterator[bytes]:
        """One as a file, proof and state."""
        with self._patient("GET", f"/api/v2/snapshots/{height}", ()) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, SnapshotView)
            yield from answer.iter_raw()

    @contextmanager
    def _patient(
        self, method: str, path: str, pieces: Iterable[bytes]
    ) -> Iterator[httpx2.Response]:
        """The owner's request whose body or answer may take its time."""
        headers = {"Content-Type": "application/octet-stream"}
        if self._read_token is not None:
            headers["Authorization"] = f"Bearer {self._read_token()}"
        try:
            with self._http.stream(
                method, path, content=iter(pieces), headers=headers, timeout=None
            ) as answer:
                yield answer
        except httpx2.TransportError as error:
            raise NotReachableError(
                f"the daemon at {self._url} does not answer ({error}); "
                "start it again with: bizra-node run"
            ) from None

    # Waiting

    def await_transaction(self, tx_hash: str, timeout_s: float) -> TransactionView:
        """Ask until a transaction has come to its end. Raises `StillWaitingError`."""
        return _poll(
            lambda: self.transaction(tx_hash),
            lambda view: view.status in FINAL_TRANSACTION,
            timeout_s,
            f"the transaction is not final after {timeout_s:g} s; "
            f"look again with: bizra-node tx show {tx_hash}",
        )

    def await_task(self, task_id: str, timeout_s: float) -> TaskView:
        """Ask until a task has come to its end, or the one that took its place. Raises `StillWaitingError`."""
        return _poll(
            lambda: self._newest(self.task(task_id)),
            lambda view: view.status in FINAL_TASK,
            timeout_s,
            f"the task has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node task show {task_id}",
        )

    def _newest(self, view: TaskView) -> TaskView:
        """The task that another node has in place of this one, if one has."""
        while view.taken_over_by is not None:
            view = self.task(view.taken_over_by)
        return view

    def await_spread(self, name: str, timeout_s: float) -> SpreadView:
        """Ask until work over many peers has come to its end. Raises `StillWaitingError`."""
        return _poll(
            lambda: self.spread(name),
            lambda view: view.status != "running",
            timeout_s,
            f"the work has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node spread show {name}",
        )

    def await_group(self, group_id: str, timeout_s: float) -> GroupView:
        """Ask until a group of tasks has its verdict and its outputs are here. Raises `StillWaitingError`."""
        return _poll(
            lambda: self.group(group_id),
            lambda view: all(one.status in FINAL_TASK for one in view.tasks),
            timeout_s,
            f"the group has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node task group {group_id}",
        )

    def _get(self, path: str, kind: type[Answer]) -> Answer:
        return decoded(self._send("GET", path), kind)

    def _post(
        self, path: str, content: JsonObject, kind: type[Answer], *, owner: bool = True
    ) -> Answer:
        return decoded(self._send("POST", path, msgspec.json.encode(content), owner=owner), kind)

    def _delete(self, path: str) -> None:
        """A deed whose answer is empty."""
        response = self._send("DELETE", path, owner=True)
        if not response.is_success:
            decoded(response, JsonObject)

    def _send(
        self, method: str, path: str, content: bytes | None = None, *, owner: bool = False
    ) -> httpx2.Response:
        headers = {}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if owner and self._read_token is not None:
            headers["Authorization"] = f"Bearer {self._read_token()}"
        try:
            return self._http.request(method, path, content=content, headers=headers)
        except httpx2.TransportError as error:
            raise unreachable(self._url, error, _TIMEOUT_S) from None


class _Readiness(msgspec.Struct):
    reason: str | None = None


class _Height(msgspec.Struct):
    height: int


class _OpenAiError(msgspec.Struct):
    message: str
    code: str | None = None


class _OpenAiProblem(msgspec.Struct):
    error: _OpenAiError


def _refused(response: httpx2.Response) -> RefusedError:
    """An answer of the doors for models that is an error."""
    try:
        told = msgspec.json.decode(response.content, type=_OpenAiProblem).error
    except msgspec.DecodeError:
        return RefusedError(response.status_code, "not_understood", f"HTTP {response.status_code}")
    return RefusedError(response.status_code, told.code or "failed", told.message)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _poll(
    ask: Callable[[], Answer], ended: Callable[[Answer], bool], timeout_s: float, late: str
) -> Answer:
    deadline, pause_s = time.monotonic() + timeout_s, _FIRST_PAUSE_S
    while True:
        answer = ask()
        if ended(answer):
            return answer
        if time.monotonic() + pause_s > deadline:
            raise StillWaitingError(late)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
