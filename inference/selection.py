"""Who is asked, in which order, and why: servers beside this node, peers of the federation, the embedded model last.

A model is what the caller named, or nothing: nobody is asked for a model that it does not list. A
name may be followed by `@` and the first digits of the SHA-256 of the model's file; then only those
are asked whose file is known to be that one. Of peers that call different files by one name none is
asked until the caller says which file is meant. Who is known to read fewer tokens than the request
has at the very least is not asked; who reads fewer than it likely has comes last of its kind.

Everybody that was looked at leaves a line in the decision, chosen or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec

from inference.breaker import BreakerState
from inference.chat import AUTO, CallKind, same_model


class ServerKind(Enum):
    """The protocols, in the order in which their servers are preferred."""

    OPENAI = "openai"
    OLLAMA = "ollama"
    GGUF = "gguf"
    PEER = "peer"
    EMBEDDED = "embedded"


class Verdict(Enum):
    """What came of looking at a server."""

    CHOSEN = "chosen"
    NO_MODEL = "no_model"
    DOWN = "down"
    BREAKER_OPEN = "breaker_open"
    FULL = "full"
    NOT_ALLOWED = "not_allowed"
    OTHER_FILE = "other_file"
    TOO_LONG = "too_long"
    DISTRUSTED = "distrusted"
    FAILED = "failed"


class Merits(msgspec.Struct, frozen=True, kw_only=True):
    """What tells peers apart that have the same model.

    `load` and `trust` are per mille, `price` is in the smallest unit of the federation. `sent` counts
    what this node has asked of it so far. `distrust` says why it is not asked at all.
    """

    free_slots: int
    load: int = 0
    price: int = 0
    rtt_ms: int | None = None
    trust: int = 1000
    sent: int = 0
    distrust: str | None = None

    def order(self, in_hand: int) -> tuple[int, ...]:
        """Small is better: room, trust, load, price, distance, and at last whose turn it is."""
        distance = _FAR if self.rtt_ms is None else self.rtt_ms // _NEAR_MS
        is_full = self.free_slots <= in_hand
        return (is_full, -self.trust // 100, self.load // 100, self.price, distance, self.sent)

    def told(self) -> str:
        """For the explanation."""
        away = "" if self.rtt_ms is None else f", {self.rtt_ms} ms away"
        return (
            f"{self.free_slots} slots free, load {self.load / 10:g} %, price {self.price}{away}, "
            f"trust {self.trust / 1000:g}, asked {self.sent} times"
        )


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it stands now. `models` are those of the last probe that went well.

    `fault` says why the last probe failed. `files` holds the SHA-256 of a model's file in hex, where
    it is known. A peer has `merits`.
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
    paced_ms: int = 0
    """After how long its bound of requests a minute lets one more pass."""
    files: Mapping[str, str] = {}
    contexts: Mapping[str, int] = {}
    """How many tokens a model reads, where its server tells."""
    price: int = 0
    """What its owner counts an answer for; of a peer it stands in its merits."""
    merits: Merits | None = None

    def order(self) -> tuple[int, ...]:
        """Small is better among those of one kind: what is cheap, then what has the most room."""
        if self.merits is not None:
            return self.merits.order(self.in_hand)
        return (self.price, 4 * self.in_hand // max(1, self.most_in_hand))


class Considered(msgspec.Struct, frozen=True):
    """One line of a decision's explanation."""

    server: str
    verdict: Verdict
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """A server to ask, its name for the model, the SHA-256 of the model's file (empty if not known), and why.

    `context` is how many tokens it reads, 0 if that is not known.
    """

    server: str
    model: str
    file: str = ""
    why: str = ""
    context: int = 0

    def may_read_more(self, other: Choice) -> bool:
        """Whether what was too long for another one may fit here."""
        return self.context > other.context or (self.context == 0 and other.context > 0)


class Decision(msgspec.Struct, frozen=True):
    """Whom to ask, best first. `is_known` says whether any server, even one that is down, has it.

    `wait_ms` is after how long it may be worth asking again, if there is no choice.
    """

    model: str
    choices: tuple[Choice, ...]
    considered: tuple[Considered, ...]
    is_known: bool
    wait_ms: int = 0


LEAVE_HINT: Final = (
    "texts stay on this machine unless the request allows otherwise (header x-bizra-peers: 1) or "
    "the owner does (chat_peers = true in config.toml)"
)

_AS_IF_UNKNOWN: Final = frozenset({Verdict.NOT_ALLOWED, Verdict.OTHER_FILE})
_WITH_FILE: Final = re.compile(r"(?P<name>.+)@(?P<file>[0-9a-fA-F]{6,64})")
_NEAR_MS: Final = 20
_FAR: Final = 1_000
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


class Wanted(msgspec.Struct, frozen=True):
    """What the caller asks for, beside the kind. `peers`: the texts may leave this machine.

    `quotes`: where no model writes, quotations from the embedded one will do for `auto`.
    """

    model: str
    file: str = ""
    peers: bool = False
    quotes: bool = True
    least_tokens: int = 0
    """What the request has at the very least."""
    likely_tokens: int = 0
    """What it has with its answer, about."""


def split_file(model: str) -> tuple[str, str]:
    """A model's name and the beginning of its file's hash, empty if the caller named none."""
    found = _WITH_FILE.fullmatch(model)
    return (found["name"], found["file"].lower()) if found else (model, "")


def select(wanted: Wanted, kind: CallKind, standings: Sequence[Standing]) -> Decision:
    """Look at everybody, the preferred kinds first; within a kind by merit, at last in the owner's order."""
    looked = sorted(
        ((standing, model_at(standing, wanted.model, kind)) for standing in standings),
        key=lambda one: (_RANKS[one[0].kind], _is_tight(one, wanted), one[0].order()),
    )
    rival = _rival_files(wanted, looked)
    considered = tuple(_consider(standing, wanted, name, rival) for standing, name in looked)
    return Decision(
        model=wanted.model,
        choices=tuple(
            Choice(
                standing.name,
                name,
                standing.files.get(name, ""),
                one.reason,
                standing.contexts.get(name, 0),
            )
            for (standing, name), one in zip(looked, considered, strict=True)
            if one.verdict is Verdict.CHOSEN and name is not None
        ),
        considered=considered,
        # `auto` names whatever writes, which may come at any time.
        is_known=(wanted.model == AUTO and kind is not CallKind.EMBED)
        or any(
            name is not None and one.verdict not in _AS_IF_UNKNOWN
            for (_, name), one in zip(looked, considered, strict=True)
        ),
        wait_ms=_shortest_wait(standing for standing, name in looked if name is not None),
    )


def _is_tight(looked: tuple[Standing, str | None], wanted: Wanted) -> bool:
    """Whether a request is likely too long, though that is not certain."""
    standing, name = looked
    context = None if name is None else standing.contexts.get(name)
    return context is not None and context < wanted.likely_tokens


def _rival_files(wanted: Wanted, looked: Sequence[tuple[Standing, str | None]]) -> tuple[str, ...]:
    """The files that peers mean by the name, if they are several and the caller has not chosen.

    What a server of this machine means by it is what is meant.
    """
    if wanted.file or wanted.model == AUTO:
        return ()
    files: dict[bool, set[str]] = {True: set(), False: set()}
    for standing, name in looked:
        if name is not None and name in standing.files:
            files[standing.kind is ServerKind.PEER].add(standing.files[name])
    own, theirs = files[False], files[True]
    meant = own or theirs
    return tuple(sorted(own | theirs)) if len(meant) > 1 or not theirs <= meant else ()


def _consider(
    standing: Standing, wanted: Wanted, name: str | None, rival: tuple[str, ...]
) -> Considered:
    reject = _Rejection(standing.name)
    if standing.fault is not None:
        return reject(Verdict.DOWN, standing.fault)
    if name is None:
        have = ", ".join(standing.models[:8]) or "none"
        sought = (
            "a model that writes text" if wanted.model == AUTO else f"the model {wanted.model!r}"
        )
        return reject(Verdict.NO_MODEL, f"it has not {sought}; it has: {have}")
    if (refusal := _identity_fault(standing, wanted, name, rival)) is not None:
        return reject(Verdict.OTHER_FILE, refusal)
    context = standing.contexts.get(name)
    if context is not None and wanted.least_tokens > context:
        told = (
            f"{name!r} reads {context} tokens, and the request has more than {wanted.least_tokens}"
        )
        return reject(Verdict.TOO_LONG, told)
    if standing.kind is ServerKind.EMBEDDED and wanted.model == AUTO and not wanted.quotes:
        return reject(Verdict.NOT_ALLOWED, "the caller wants no quotations")
    if standing.merits is not None:
        if not wanted.peers:
            return reject(Verdict.NOT_ALLOWED, LEAVE_HINT)
        if standing.merits.distrust is not None:
            return reject(Verdict.DISTRUSTED, standing.merits.distrust)
    return _by_room(standing, name, wanted, reject)


def _by_room(standing: Standing, name: str, wanted: Wanted, reject: _Rejection) -> Considered:
    """Whether one that may be asked can be asked just now."""
    if not standing.admits:
        reason = f"it failed too often (circuit breaker {standing.breaker.value})"
        if standing.wait_ms:
            reason += f"; tried again in {standing.wait_ms / 1000:.0f} s"
        return reject(Verdict.BREAKER_OPEN, reason)
    if standing.in_hand >= standing.most_in_hand:
        return reject(Verdict.FULL, f"it has {standing.in_hand} requests of this node in hand")
    if standing.paced_ms:
        in_s = standing.paced_ms / 1000
        return reject(Verdict.FULL, f"it has had its requests of this minute; more in {in_s:.1f} s")
    return reject(Verdict.CHOSEN, _praise(standing, name, wanted))


class _Rejection(msgspec.Struct, frozen=True):
    """A line about one server."""

    server: str

    def __call__(self, verdict: Verdict, reason: str) -> Considered:
        return Considered(self.server, verdict, reason)


def _identity_fault(
    standing: Standing, wanted: Wanted, name: str, rival: tuple[str, ...]
) -> str | None:
    """Why its file is not, or not known to be, the one that is meant."""
    file = standing.files.get(name, "")
    if wanted.file and not file:
        return f"the file of its {name!r} is not known"
    if wanted.file and not file.startswith(wanted.file):
        return f"its {name!r} is the file {file[:12]}, not {wanted.file[:12]}"
    if standing.kind is not ServerKind.PEER:
        return None
    if not file:
        return f"it does not tell the file of its {name!r}"
    if rival:
        files = ", ".join(one[:12] for one in rival)
        return f"several files are called {name!r} ({files}); ask for {name}@ and the digits of one"
    return None


def _praise(standing: Standing, name: str, wanted: Wanted) -> str:
    file = standing.files.get(name)
    which = f"{name!r}" if not file else f"{name!r} (file {file[:12]})"
    context = standing.contexts.get(name)
    reads = "" if context is None else f", which reads {context} tokens"
    if _is_tight((standing, name), wanted):
        reads += f" (the request likely needs {wanted.likely_tokens})"
    price = f", price {standing.price}" if standing.price else ""
    merits = price if standing.merits is None else f": {standing.merits.told()}"
    return f"it is up and has {which}{reads}{merits}"


def _shortest_wait(standings: Iterable[Standing]) -> int:
    return min((max(one.wait_ms, one.paced_ms) for one in standings), default=0)
