"""What a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from simulations.worlds.setting import Setting


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run."""

    scenario: Setting
    violation: str | None
    """The broken invariant, a colon, and what was seen; None if all held."""
    trace_hash: str
    messages: int
    message_bytes: int
    events: int
    height: int
    """How far the nodes came, in whatever they count."""
    end_ms: int
    marks: dict[str, int]
    stopped: str | None = None
    """Why the run ended before everything had happened, if it was told to."""
    states: tuple[str, ...] = ()
    """How each process stood at the end."""
