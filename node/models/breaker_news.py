"""Circuit breakers that open and close, told in the log and as a topic: `inference/breaker/SERVER`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from inference.breaker import BreakerChanged

log = structlog.get_logger(__name__)

TOPIC = "inference/breaker"


class BreakerNews:
    """`publish` tells the members; until it is set, changes stand in the log alone."""

    def __init__(self) -> None:
        self.publish: Callable[[str, bytes], None] | None = None

    def on_change(self, server: str, change: BreakerChanged) -> None:
        """The breaker of a server, or of a peer, has changed."""
        told = {"server": server, "before": change.before.value, "after": change.after.value}
        log.warning("circuit breaker", **told)
        if self.publish is not None:
            self.publish(f"{TOPIC}/{server}", msgspec.json.encode(told))
