"""Requests to the model servers: choose, try, try again, fail over; and every step explained.

    async with ModelRouter(servers, on_breaker=log) as router:
        answer = await router.complete(call)

A request goes to the first choice; on a failure the next server is asked at once, and when all
were asked, those that may do better later are asked again after a pause (`inference/retry.py`). A
stream counts as begun with its first token: until then nobody has seen anything of it, and another
server may begin anew. After it a failure is the caller's to know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar

import msgspec
import trio

from inference.backend import BackendError
from inference.backends.passing import chunk_event
from inference.backends.servers import Server, Take, TokenStream, Vectors
from inference.backends.standing import KnownServer, OnBreaker, Ticket
from inference.breaker import Breaker, BreakerLimits
from inference.chat import Call, JsonObject, has_token, least_tokens, likely_tokens
from inference.failures import Broken, ContextOverflow, Failure, FailureClass, Garbled
from inference.retry import RetryPolicy, may_ask_again
from inference.selection import (
    Choice,
    Considered,
    Decision,
    Merits,
    ServerKind,
    Standing,
    Verdict,
    Wanted,
    select,
    split_file,
    writes_text,
)

_MOST_GONE: Final = 256
"""How many peers are remembered that offer no model any more."""
_MOST_HELD: Final = 64
"""Chunks without a token that are held back: a role, perhaps a few empty deltas."""

T = TypeVar("T")


class UnknownModel(BackendError):  # noqa: N818  # what the request names
    """No server has the model."""

    def __init__(self, decision: Decision) -> None:
        down = [one.server for one in decision.considered if one.verdict is Verdict.DOWN]
        missing = f"; not reachable now: {', '.join(down)}" if down else ""
        for one in decision.considered:
            if one.verdict in (Verdict.NOT_ALLOWED, Verdict.OTHER_FILE):
                missing += f"; {one.server}: {one.reason}"
                break
        super().__init__(f"there is no model {decision.model[:200]!r} here{missing}")
        self.decision = decision


class NoServerNow(BackendError):  # noqa: N818  # the state it reports
    """Servers have the model, and none can be asked now."""

    def __init__(self, decision: Decision) -> None:
        why = "; ".join(
            f"{one.server}: {one.reason}"
            for one in decision.considered
            if one.verdict is not Verdict.NO_MODEL
        )
        super().__init__(f"the model {decision.model[:200]!r} can't be asked now ({why})")
        self.decision = decision


class GivenUp(BackendError):  # noqa: N818  # what happened
    """Every server that has the model was asked, as often as the retry table says, in vain.

    `failure` is the last one.
    """

    def __init__(self, decision: Decision, failure: Failure, attempts: int) -> None:
        tries = "once" if attempts == 1 else f"{attempts} times"
        last = decision.considered[-1].server
        super().__init__(
            f"the model {decision.model[:200]!r} was asked {tries} in vain; "
            f"at last {last}: {failure}"
        )
        self.decision, self.failure = decision, failure


class Refused(BackendError):  # noqa: N818  # what happened
    """A server refused the request for what it asks; others would too."""

    def __init__(self, decision: Decision, failure: Failure) -> None:
        super().__init__(str(failure))
        self.decision, self.failure = decision, failure


class Routed(msgspec.Struct, Generic[T], frozen=True):
    """An answer, who gave it, and how that was decided."""

    answer: T
    server: str
    model: str
    decision: Decision
    cache: str = ""
    """Whether it was taken from a cache: HIT, MISS, BYPASS, or empty where none was asked."""
    took_ms: int = 0
    """How long the server that gave it had it in hand; until its first token, of a stream."""


class Candidate(msgspec.Struct, frozen=True):
    """Who would be asked first, and since when it has been there unbroken: a number that goes up."""

    choice: Choice
    epoch: int


class ListedModel(msgspec.Struct, frozen=True):
    """A model, and the server that would be asked first for it."""

    id: str
    server: str


class Federation(Protocol):
    """The peers, as servers."""

    def servers(self) -> Iterable[tuple[Server, Merits, Mapping[str, str]]]:
        """Those that may be asked now, what speaks for each, and the files of their models."""


class RoutedStream:
    """A stream that has shown its first token. `aclose` must be called, whatever happened."""

    def __init__(self, stream: TokenStream, ticket: Ticket) -> None:
        self._stream, self._ticket = stream, ticket
        self._held: list[JsonObject] = []

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end. Raises `Failure`: the answer is broken."""
        if self._held:
            return self._held.pop(0)
        try:
            chunk = await self._stream.receive()
        except BaseException as error:
            self._ticket.fail(error)
            raise
        if chunk is None:
            self._ticket.end()
        return chunk

    async def pass_on(self, take: Take, framed: Take | None = None, /) -> bytes | None:
        """As `TokenStream` says."""
        if self._held:
            events, self._held = b"".join(map(chunk_event, self._held)), []
            if not take(events):
                return None
        try:
            last = await self._stream.pass_on(take, framed)
        except BaseException as error:
            self._ticket.fail(error)
            raise
        if last is not None:
            self._ticket.end()
        return last

    async def hold(self) -> None:
        """Wait for the first token."""
        held: list[JsonObject] = []
        while len(held) < _MOST_HELD:
            chunk = await self.receive()
            if chunk is None:
                raise Broken("its stream ended before it began")
            held.append(chunk)
            if has_token(chunk):
                self._held = held
                return
        raise Garbled(f"its stream began with {_MOST_HELD} chunks that hold nothing")

    async def aclose(self) -> None:
        """Before its end this tells the server to stop."""
        self._ticket.abandon()
        await self._stream.aclose()


class ModelRouter:
    """All model servers of this node; works inside its own `async with`."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        on_breaker: OnBreaker,
        policy: RetryPolicy | None = None,
        breaker: BreakerLimits | None = None,
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._known = {
            server.settings.name: KnownServer(server, Breaker(breaker), on_breaker)
            for server in servers
        }
        assert len(self._known) == len(servers)
        self._breaker_limits, self._on_breaker = breaker, on_breaker
        self._federation: Federation | None = None
        self._peers: dict[str, KnownServer] = {}
        self._gone: dict[str, KnownServer] = {}
        """Peers that offered models and do so no more, the longest gone first."""

    def add(self, server: Server) -> None:
        """From now on this server of this machine is asked too."""
        assert server.settings.name not in self._known
        known = KnownServer(server, Breaker(self._breaker_limits), self._on_breaker)
        self._known = {**self._known, server.settings.name: known}

    async def remove(self, name: str) -> None:
        """Ask a server no more. What it has in hand it may finish."""
        known = self._known[name]
        self._known = {other: one for other, one in self._known.items() if other != name}
        await known.server.aclose()

    def known(self, name: str) -> KnownServer:
        """One server of this machine."""
        return self._known[name]

    def join(self, federation: Federation) -> None:
        """From now on peers are asked too, where the caller allows it."""
        self._federation = federation

    def identify(self, server: str, files: Mapping[str, str]) -> None:
        """These are the files of a server's models, as far as they are known."""
        if server in self._known:
            self._known[server].files = dict(files)

    async def local(self) -> tuple[KnownServer, ...]:
        """The servers of this machine, their models as fresh as a request would have them."""
        await self._refresh(self._known.values())
        return tuple(self._known.values())

    def standings(self) -> tuple[Standing, ...]:
        """The servers of this machine as they were found last."""
        return tuple(known.standing() for known in self._known.values())

    def meet(self) -> None:
        """Take note of the peers that are there now: who waits for the model of one that goes waits for its return.

        Their breakers are remembered with them.
        """
        there: dict[str, KnownServer] = {}
        for server, merits, files in () if self._federation is None else self._federation.servers():
            name = server.settings.name
            known = self._peers.get(name) or self._gone.pop(name, None)
            if known is None or known.server is not server:
                known = KnownServer(server, Breaker(self._breaker_limits), self._on_breaker)
            known.take_word(merits, files)
            there[name] = known
        for name in self._peers.keys() - there.keys():
            self._gone[name] = self._peers[name]
            self._gone[name].withdraw("it offers no model now")
        while len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._peers = there

    def _everybody(self, *, gone: bool = False) -> dict[str, KnownServer]:
        """The servers of this machine, and the peers that are there now, or have been too."""
        self.meet()
        return {**self._known, **self._peers, **(self._gone if gone else {})}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for known in self._known.values():
            await known.server.aclose()

    async def writers(self) -> bool:
        """Whether a server of this machine or a peer has a model that writes and may be asked now."""
        everybody = self._everybody()
        await self._refresh(everybody.values())
        return any(
            standing.admits
            and standing.fault is None
            and standing.kind is not ServerKind.EMBEDDED
            and any(map(writes_text, standing.models))
            for standing in (known.standing() for known in everybody.values())
        )

    async def models(self, *, askable: bool = False) -> tuple[ListedModel, ...]:
        """What there is now, each model once; with `askable` only where a request may go now."""
        everybody = self._everybody()
        await self._refresh(everybody.values())
        found: dict[str, ListedModel] = {}
        for known in everybody.values():
            standing = known.standing()
            if standing.fault is None and (standing.admits or not askable):
                for name in standing.models:
                    found.setdefault(name, ListedModel(name, known.name))
        return tuple(found.values())

    async def first_choice(self, call: Call) -> Candidate | None:
        """Who would be asked now, if anybody."""
        everybody = self._everybody()
        await self._refresh(everybody.values())
        standings = [known.standing() for known in everybody.values()]
        decision = select(_wanted(call, standings), call.kind, standings)
        if not decision.choices:
            return None
        choice = decision.choices[0]
        return Candidate(choice, everybody[choice.server].epoch)

    async def complete(self, call: Call, only: str | None = None) -> Routed[JsonObject]:
        """A whole answer, from one server of this machine if `only` names it.

        Raises `UnknownModel`, `NoServerNow`, `GivenUp`, `Refused`.
        """

        async def work(known: KnownServer, call: Call, ticket: Ticket) -> JsonObject:
            answer = await known.server.complete(call)
            ticket.end()
            return answer

        return await self._serve(call, work, only)

    async def embed(self, call: Call) -> Routed[Vectors]:
        """A vector for each text. Raises as `complete` does."""

        async def work(known: KnownServer, call: Call, ticket: Ticket) -> Vectors:
            vectors = await known.server.embed(call)
            ticket.end()
            return vectors

        return await self._serve(call, work)

    async def open_stream(
        self, call: Call, only: str | None = None, avoid: Collection[str] = ()
    ) -> Routed[RoutedStream]:
        """A stream with its first token at hand, to be closed; not from the servers to `avoid`.

        Raises as `complete` does.
        """

        async def work(known: KnownServer, call: Call, ticket: Ticket) -> RoutedStream:
            stream = RoutedStream(await known.server.open_stream(call), ticket)
            try:
                await stream.hold()
            except BaseException:
                await stream.aclose()
                raise
            return stream

        return await self._serve(call, work, only, avoid)

    def _only(self, name: str) -> dict[str, KnownServer]:
        """One server, or none if it was taken out meanwhile."""
        return {name: self._known[name]} if name in self._known else {}

    async def _refresh(self, servers: Iterable[KnownServer]) -> None:
        stale = [known for known in servers if known.is_stale]
        if not stale:
            return
        async with trio.open_nursery() as nursery:
            for known in stale:
                nursery.start_soon(known.refresh)

    async def _serve(
        self,
        call: Call,
        work: Callable[[KnownServer, Call, Ticket], Awaitable[T]],
        only: str | None = None,
        avoid: Collection[str] = (),
    ) -> Routed[T]:
        everybody = self._everybody(gone=call.peers) if only is None else self._only(only)
        everybody = {name: one for name, one in everybody.items() if name not in avoid}
        await self._refresh(everybody.values())
        standings = [known.standing() for known in everybody.values()]
        decision = select(_wanted(call, standings), call.kind, standings)
        if not decision.choices:
            raise _nobody(decision)
        attempts, left = 0, list(decision.choices)
        while True:
            retry_after_ms, last = None, None
            for choice in tuple(left):
                known = everybody[choice.server]
                if choice not in left or not known.admits or attempts >= self._policy.attempts:
                    continue
                attempts += 1
                began_s = trio.current_time()
                try:
                    answer = await self._try(known, choice, call, work)
                except Failure as failure:
                    decision = _with_failure(decision, choice, failure)
                    if isinstance(failure, ContextOverflow):
                        left = [one for one in left if one.may_read_more(choice)]
                    if failure.kind is FailureClass.REQUEST and not _may_fit(failure, left):
                        raise Refused(decision, failure) from failure
                    if choice in left and not may_ask_again(failure):
                        left.remove(choice)
                    last, retry_after_ms = failure, _sooner(retry_after_ms, failure)
                else:
                    took_ms = int(1000 * (trio.current_time() - began_s))
                    return Routed(answer, choice.server, choice.model, decision, took_ms=took_ms)
            if last is None:
                # Every breaker opened while this request waited.
                raise NoServerNow(decision)
            is_last = not left or call.waits
            pause_ms = None if is_last else self._policy.pause_ms(attempts, retry_after_ms)
            if pause_ms is None:
                raise GivenUp(decision, last, attempts) from last
            await trio.sleep(pause_ms / 1000)

    async def _try(
        self,
        known: KnownServer,
        choice: Choice,
        call: Call,
        work: Callable[[KnownServer, Call, Ticket], Awaitable[T]],
    ) -> T:
        ticket = known.enter()
        try:
            chosen = msgspec.structs.replace(
                call, model=choice.model, file=choice.file, why=choice.why
            )
            return await work(known, chosen, ticket)
        except BaseException as error:
            ticket.fail(error)
            raise


def _wanted(call: Call, standings: Sequence[Standing]) -> Wanted:
    """What is asked for; an `@` that is a part of a listed name stays one."""
    model, file = call.model, call.file
    if not file and not any(model in one.models for one in standings):
        model, file = split_file(model)
    if not any(one.contexts for one in standings):
        return Wanted(model, file, call.peers, call.quotes)
    least, likely = least_tokens(call), likely_tokens(call)
    return Wanted(model, file, call.peers, call.quotes, least, likely)


def _nobody(decision: Decision) -> BackendError:
    """Why there is nobody to ask."""
    if not decision.is_known:
        return UnknownModel(decision)
    looked = {one.verdict: one.reason for one in decision.considered}
    if Verdict.TOO_LONG in looked and not looked.keys() & {Verdict.BREAKER_OPEN, Verdict.FULL}:
        return Refused(decision, ContextOverflow(looked[Verdict.TOO_LONG]))
    return NoServerNow(decision)


def _may_fit(failure: Failure, left: Sequence[Choice]) -> bool:
    """Whether what one server refused may suit another: only where it was too long for the first."""
    return isinstance(failure, ContextOverflow) and bool(left)


def _with_failure(decision: Decision, choice: Choice, failure: Failure) -> Decision:
    line = Considered(choice.server, Verdict.FAILED, f"{failure.code}: {failure}")
    return msgspec.structs.replace(decision, considered=(*decision.considered, line))


def _sooner(retry_after_ms: int | None, failure: Failure) -> int | None:
    if failure.retry_after_ms is None:
        return retry_after_ms
    return min(retry_after_ms or failure.retry_after_ms, failure.retry_after_ms)
