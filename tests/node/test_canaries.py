"""Canaries on a virtual clock: whose turn it is, and how often."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
from trio.testing import MockClock

from gossip.identity import NodeId
from inference.audit import Finding, Judgement
from node.work.canaries import Canaries

ANA, BO, EVE = (NodeId(bytes([number]) * 32) for number in range(3))


class Peers:
    def __init__(self, *offers: tuple[NodeId, str, str]) -> None:
        self.offers = list(offers)
        self.asked: list[tuple[float, NodeId, str]] = []

    def offered(self) -> Iterable[tuple[NodeId, str, str]]:
        return self.offers

    async def check(self, node: NodeId, model: str) -> Judgement:
        self.asked.append((trio.current_time(), node, model))
        return Judgement(Finding.MATCH, "the same")


async def run_for(peers: Peers, seconds: float) -> list[tuple[float, NodeId, str]]:
    began = trio.current_time()
    with trio.move_on_after(seconds):
        await Canaries(peers, lambda file: file == "here", 60).run()
    return [(round(at - began), node, model) for at, node, model in peers.asked]


async def test_each_peer_whose_file_is_here_has_its_turn(autojump_clock: MockClock) -> None:
    peers = Peers(
        (ANA, "m", "here"), (BO, "m", "here"), (EVE, "m", "elsewhere"), (ANA, "n", "here")
    )
    asked = await run_for(peers, 4.5 * 60)
    assert asked == [(60, ANA, "m"), (120, ANA, "n"), (180, BO, "m"), (240, ANA, "m")]


@pytest.mark.parametrize("offers", [[], [(EVE, "m", "elsewhere")]])
async def test_nobody_is_asked_what_can_not_be_checked(
    autojump_clock: MockClock, offers: list[tuple[NodeId, str, str]]
) -> None:
    assert await run_for(Peers(*offers), 600) == []
