"""What is told of circuit breakers."""

from __future__ import annotations

import msgspec

from gossip.broadcast.topics import Pattern, check_topic
from inference.breaker import BreakerChanged, BreakerState
from node.models.breaker_news import BreakerNews

OPENED = BreakerChanged(BreakerState.CLOSED, BreakerState.OPEN, 7)


def test_a_change_is_published_on_a_topic_of_its_server() -> None:
    news, told = BreakerNews(), list[tuple[str, bytes]]()
    news.on_change("early", OPENED)
    news.publish = lambda topic, payload: told.append((topic, payload))
    for server in ("lmstudio", "peer:0123456789ab"):
        news.on_change(server, OPENED)
    assert [check_topic(topic) for topic, _ in told] == [
        "inference/breaker/lmstudio",
        "inference/breaker/peer:0123456789ab",
    ]
    assert Pattern("inference/breaker/*").matches(told[0][0])
    said = {"server": "lmstudio", "before": "closed", "after": "open"}
    assert msgspec.json.decode(told[0][1]) == said
