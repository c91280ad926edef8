"""Metrics as Prometheus reads them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import msgspec

from inference.waiting import QueueState
from node.gateway.metrics import consensus_lines, metric, queue_lines
from node.views.records import RefusedView, StatusView
from tests.inference.servers import Status, model_server
from tests.node.model_gateway import ModelGateway, model_gateway

_SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')


def read(text: str) -> dict[str, float]:
    """All samples by name and labels; each metric is described once, before its samples."""
    samples, described = dict[str, float](), list[str]()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            described.append(line.split()[2])
        if line.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(line)
        assert found is not None, line
        assert found[1] == described[-1]
        samples[f"{found[1]}{{{found[2]}}}"] = float(found[3])
    assert len(described) == len(set(described))
    return samples


async def seen(gateway: ModelGateway) -> dict[str, float]:
    answer: httpx2.Response = await gateway.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read(answer.text)


async def test_hits_and_misses_and_the_standing_of_servers_are_counted(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0,
        }
        labels = '{kind="responses",level="L2"}'
        before = await seen(gateway)
        assert (before[f"bizra_cache_hits_total{labels}"], server.probes) == (0, 0)
        assert f"bizra_cache_hit_ratio{labels}" not in before
        for _ in range(4):
            await gateway.http.post("/v1/chat/completions", json=body)
        now = await seen(gateway)
        assert now[f"bizra_cache_hits_total{labels}"] == 3
        assert now[f"bizra_cache_misses_total{labels}"] == 1
        assert now[f"bizra_cache_hit_ratio{labels}"] == 0.75
        assert 0 < now[f"bizra_cache_bytes{labels}"] < now[f"bizra_cache_max_bytes{labels}"]
        who = '{server="a",kind="openai"}'
        assert now[f"bizra_model_server_up{who}"] == 1
        assert now[f"bizra_model_server_breaker_open{who}"] == 0
        server.acts = [Status(500)]
        await gateway.http.post("/v1/chat/completions", json={**body, "seed": 1})
        assert (await seen(gateway))[f"bizra_model_server_breaker_open{who}"] == 1


STATUS = StatusView(
    node_id="ab" * 32,
    name="a",
    federation_id=None,
    role="validator",
    height=41,
    epoch=2,
    view=1,
    primary=None,
    peers=3,
    quorum=3,
    faults_tolerated=1,
    state_root=None,
    block_hash=None,
    pending_transactions=7,
    version="1",
    voting="yes",
)


@dataclass
class Traffic:
    sent: Counter[str] = field(default_factory=Counter)


def test_consensus_tells_where_it_stands_what_it_sent_and_what_it_refused() -> None:
    refused = tuple(
        RefusedView(node_id=peer * 64, reason=reason, count=count, usual=False)
        for peer, reason, count in (("a", "signature", 2), ("b", "signature", 1), ("b", "stale", 5))
    )
    status = msgspec.structs.replace(STATUS, refused=refused)
    samples = read("\n".join(consensus_lines(status, Traffic(Counter(Vote=8, Proposal=3)))))
    assert samples["bizra_consensus_height{}"] == 41
    assert samples["bizra_consensus_view{}"] == 1
    assert samples["bizra_consensus_votes{}"] == 1
    assert samples["bizra_consensus_pending_transactions{}"] == 7
    assert samples['bizra_consensus_sent_total{kind="Vote"}'] == 8
    assert samples['bizra_refused_total{reason="signature"}'] == 3
    assert samples['bizra_refused_total{reason="stale"}'] == 5
    assert len(samples) == 5 + 2 + 2


def test_each_state_of_the_queue_has_a_sample() -> None:
    samples = read("\n".join(queue_lines([QueueState.WAITING, QueueState.WAITING])))
    assert len(samples) == len(QueueState)
    assert samples['bizra_queue_requests{state="waiting"}'] == 2
    assert samples['bizra_queue_requests{state="escalated"}'] == 0


def test_a_name_cannot_break_out_of_its_label() -> None:
    *_, line = metric("a_b", "gauge", "x", [({"server": 'a"} 1\n\\'}, 1.5)])
    assert line == r'a_b{server="a\"} 1\n\\"} 1.5'
