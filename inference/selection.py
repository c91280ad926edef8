"""Which model servers are asked, in which order, and why: OpenAI-compatible ones, Ollama's, the embedded one.

A model is what the caller named, or nothing: no server is asked for a model that it does not list.
Every server that was looked at leaves a line in the decision, chosen or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

import msgspec

from inference.breaker import BreakerState
from inference.chat import AUTO, CallKind, same_model


class ServerKind(Enum):
    """The protocols, in the order in which their servers are preferred."""

    OPENAI = "openai"
    OLLAMA = "ollama"
    EMBEDDED = "embedded"


class Verdict(Enum):
    """What came of looking at a server."""

    CHOSEN = "chosen"
    NO_MODEL = "no_model"
    DOWN = "down"
    BREAKER_OPEN = "breaker_open"
    FULL = "full"
    FAILED = "failed"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it stands now. `models` are those of the last probe that went well.

    `fault` says why the last probe failed.
    """

    name: str
    kind: ServerKind
    models: tuple[str, ...] = ()
    fault: str | None = None
    breaker: BreakerState = BreakerState.CLOSED
    admits: bool = True
    wait_ms: int = 0
    in_hand: int = 0
    most_in_hand: int = 64


class Considered(msgspec.Struct, frozen=True):
    """One line of a decision's explanation."""

    server: str
    verdict: Verdict
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """A server to ask, and its name for the model."""

    server: str
    model: str


class Decision(msgspec.Struct, frozen=True):
    """Whom to ask, best first. `is_known` says whether any server, even one that is down, has it.

    `wait_ms` is after how long it may be worth asking again, if there is no choice.
    """

    model: str
    choices: tuple[Choice, ...]
    considered: tuple[Considered, ...]
    is_known: bool
    wait_ms: int = 0


_RANKS: Final = {kind: rank for rank, kind in enumerate(ServerKind)}
_EMBEDDERS: Final = ("embed", "minilm", "bge-", "gte-", "e5-", "rerank")
"""What stands in the names of models that write no text. A server's list does not tell them apart."""


def writes_text(model: str) -> bool:
    """Whether a model may be chosen for a caller who named none."""
    return not any(sign in model.lower() for sign in _EMBEDDERS)


def model_at(standing: Standing, model: str, kind: CallKind) -> str | None:
    """The server's own name for the model, or None if it has not got it."""
    if model == AUTO:
        if kind is CallKind.EMBED:
            return None
        return next(filter(writes_text, standing.models), None)
    if model in standing.models:
        return model
    if standing.kind is ServerKind.OLLAMA:
        # Ollama's own rule: a name without a tag means `latest`.
        tagged = (name for name in standing.models if name.endswith(":latest"))
        return next((name for name in tagged if same_model(name, f"{model}:latest")), None)
    return None


def select(model: str, kind: CallKind, standings: Sequence[Standing]) -> Decision:
    """Look at all servers, the preferred kinds first, and within a kind in the owner's order."""
    ordered = sorted(standings, key=lambda standing: _RANKS[standing.kind])
    looked = [(standing, model_at(standing, model, kind)) for standing in ordered]
    considered = tuple(_consider(standing, model, name) for standing, name in looked)
    return Decision(
        model=model,
        choices=tuple(
            Choice(standing.name, name)
            for (standing, name), one in zip(looked, considered, strict=True)
            if one.verdict is Verdict.CHOSEN and name is not None
        ),
        considered=considered,
        is_known=any(name is not None for _, name in looked),
        wait_ms=_shortest_wait(standing for standing, name in looked if name is not None),
    )


def _consider(standing: Standing, model: str, name: str | None) -> Considered:
    if standing.fault is not None:
        return Considered(standing.name, Verdict.DOWN, standing.fault)
    if name is None:
        have = ", ".join(standing.models[:8]) or "none"
        wanted = "a model that writes text" if model == AUTO else f"the model {model!r}"
        return Considered(standing.name, Verdict.NO_MODEL, f"it has not {wanted}; it has: {have}")
    if not standing.admits:
        reason = f"it failed too often (circuit breaker {standing.breaker.value})"
        if standing.wait_ms:
            reason += f"; tried again in {standing.wait_ms / 1000:.0f} s"
        return Considered(standing.name, Verdict.BREAKER_OPEN, reason)
    if standing.in_hand >= standing.most_in_hand:
        reason = f"it has {standing.in_hand} requests of this node in hand"
        return Considered(standing.name, Verdict.FULL, reason)
    return Considered(standing.name, Verdict.CHOSEN, f"it is up and has {name!r}")


def _shortest_wait(standings: Iterable[Standing]) -> int:
    return min((standing.wait_ms for standing in standings), default=0)
