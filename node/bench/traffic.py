"""What validators send each other, counted by themselves (`/metrics`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import httpx2

from node.demo.cluster import Member

_SENT = re.compile(r'^bizra_consensus_sent_total\{kind="(\w+)"\} (\d+)$', re.MULTILINE)


def messages_sent(members: Iterable[Member]) -> Counter[str]:
    """By all of them together since their starts: kinds, one for each receiver."""
    counts = Counter[str]()
    for member in members:
        text = httpx2.get(f"{member.client.url}/metrics", trust_env=False).text
        counts.update({kind: int(count) for kind, count in _SENT.findall(text)})
    return counts
