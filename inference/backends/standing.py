"""One server as the router knows it: its models by the last probe, its breaker, what it has in hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import trio
from msgspec import structs

from inference.backends.servers import Server, TellsContexts
from inference.breaker import Breaker, BreakerChanged
from inference.failures import Failure, FailureClass, Unsupported, WrongModel
from inference.pace import Pace
from inference.selection import Merits, Standing

FRESH_MS: Final = 30_000
"""How long a server's list of models is believed."""
DOWN_MS: Final = 2_000
"""How soon a server that did not answer is looked for again."""
_TOO_MANY: Final = 429

OnBreaker = Callable[[str, BreakerChanged], None]


def now_ms() -> int:
    """Trio's clock: it never goes back."""
    return int(trio.current_time() * 1000)


class KnownServer:
    """A server, and what is known about it."""

    def __init__(self, server: Server, breaker: Breaker, on_breaker: OnBreaker) -> None:
        self.server = server
        self._tells_contexts = server if isinstance(server, TellsContexts) else None
        self._breaker, self._on_breaker = breaker, on_breaker
        self._models: tuple[str, ...] = server.settings.models
        self._fault: str | None = None
        self._stale_ms: float = 0
        self._in_hand = 0
        self._pace = Pace(server.settings.per_minute)
        self.epoch = 0
        """Goes up whenever the server may have become another one: it was away, or lists other models."""
        self._probing = trio.Lock()
        self._merits: Merits | None = None
        self._sent = 0
        self.files: Mapping[str, str] = {}
        """The SHA-256 of a model's file in hex, where it is known."""

    @property
    def name(self) -> str:
        return self.server.settings.name

    @property
    def admits(self) -> bool:
        """Whether a request may go there now."""
        now, settings = now_ms(), self.server.settings
        return (
            self._breaker.admits(now)
            and self._in_hand < settings.parallel
            and self._pace.wait_ms(now) == 0
        )

    @property
    def is_stale(self) -> bool:
        """Whether what is known of its models is too old."""
        return now_ms() >= self._stale_ms

    def standing(self) -> Standing:
        """For the selection."""
        now = now_ms()
        return Standing(
            name=self.name,
            kind=self.server.settings.kind,
            models=self._models,
            fault=self._fault,
            breaker=self._breaker.state(now),
            admits=self._breaker.admits(now),
            wait_ms=self._breaker.wait_ms(now),
            in_hand=self._in_hand,
            most_in_hand=self.server.settings.parallel,
            paced_ms=self._pace.wait_ms(now),
            files=self.files,
            contexts=self._tells_contexts.contexts if self._tells_contexts else {},
            price=self.server.settings.price,
            merits=self._merits and structs.replace(self._merits, sent=self._sent),
        )

    def take_word(self, merits: Merits, files: Mapping[str, str]) -> None:
        """A peer: what it has is what its record says now, which is never stale."""
        self._merits, self.files, self._models = merits, files, tuple(files)
        self._fault, self._stale_ms = None, now_ms() + FRESH_MS

    def withdraw(self, why: str) -> None:
        """A peer: it has taken its word back. Only the names of its models are remembered."""
        self.files, self._fault, self._stale_ms = {}, why, math.inf

    async def refresh(self) -> None:
        """Ask for the models if what is known is too old. Many callers share one probe."""
        async with self._probing:
            if not self.is_stale:
                return
            try:
                listed = await self.server.probe()
            except Failure as failure:
                self._fault, self._stale_ms = str(failure), now_ms() + DOWN_MS
                self.epoch += 1
                return
            allowed = self.server.settings.models
            models = tuple(one for one in listed if not allowed or one in allowed)
            self.epoch += models != self._models
            self._models = models
            self._fault, self._stale_ms = None, now_ms() + FRESH_MS

    def enter(self) -> Ticket:
        """A request goes there; only after `admits` said so. The ticket must be settled."""
        now = now_ms()
        self._pace.take(now)
        self._tell(self._breaker.enter(now))
        self._in_hand += 1
        self._sent += 1
        return Ticket(self)

    def settle(self, failure: Failure | None, *, is_abandoned: bool) -> None:
        """What a ticket calls, once."""
        self._in_hand -= 1
        if is_abandoned or (failure is not None and _says_nothing(failure)):
            self._breaker.on_abandoned()
        elif failure is None or failure.kind is FailureClass.REQUEST:
            self._tell(self._breaker.on_success(now_ms()))
        else:
            self._tell(self._breaker.on_failure(now_ms()))
        if failure is not None and (
            failure.kind is FailureClass.NETWORK or isinstance(failure, WrongModel)
        ):
            self._stale_ms = 0
            self.epoch += 1

    def _tell(self, changes: list[BreakerChanged]) -> None:
        for change in changes:
            self._on_breaker(self.name, change)


def _says_nothing(failure: Failure) -> bool:
    """Whether a failure is no sign of a server in trouble: it is busy, or was asked the wrong thing."""
    return failure.status == _TOO_MANY or isinstance(failure, WrongModel | Unsupported)


class Ticket:
    """One request at one server, from beginning to end."""

    def __init__(self, known: KnownServer) -> None:
        self._known, self._is_open = known, True

    def end(self, failure: Failure | None = None) -> None:
        """It ended well, or by this failure."""
        if self._is_open:
            self._is_open = False
            self._known.settle(failure, is_abandoned=False)

    def abandon(self) -> None:
        """The caller gave it up; nothing if it had ended."""
        if self._is_open:
            self._is_open = False
            self._known.settle(None, is_abandoned=True)

    def fail(self, error: BaseException) -> None:
        """It ended by this error; any other than a `Failure` means that it was given up."""
        if isinstance(error, Failure):
            self.end(error)
        else:
            self.abandon()
