"""Probing, retrying and failing over on virtual time, with servers that are objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
import trio
from trio.testing import MockClock

from inference.backends.router import GivenUp, ModelRouter, NoServerNow, Refused, UnknownModel
from inference.backends.servers import ServerSettings, TokenStream, Vectors
from inference.breaker import BreakerChanged
from inference.chat import Call, CallKind, JsonObject
from inference.failures import (
    BadRequest,
    ContextOverflow,
    Failure,
    Garbled,
    Overloaded,
    Unreachable,
)
from inference.forms import FormedAnswers, shape_wanted
from inference.selection import Merits, ServerKind, Verdict

CALL = Call(CallKind.CHAT, "m", {})


class ScriptedServer:
    """Fails as it is told, by `fault`, and counts."""

    def __init__(
        self,
        name: str = "a",
        *,
        models: tuple[str, ...] = ("m",),
        fault: Callable[[], Failure] | None = None,
        allowed: tuple[str, ...] = (),
        per_minute: int = 0,
        price: int = 100,
        context: int = 0,
        works_s: float = 0.0,
        answer: JsonObject | None = None,
        most: int = 9,
    ) -> None:
        self._most = most
        self._works_s, self.answer = works_s, answer or {"by": name}
        self.contexts = {"m": context} if context else {}
        self.settings = ServerSettings(
            name=name,
            url="",
            kind=ServerKind.OPENAI,
            models=allowed,
            per_minute=per_minute,
            parallel=8,
            price=price,
        )
        self.models, self.fault = models, fault
        self.probe_fault: Callable[[], Failure] | None = None
        self.probes, self.asked_s = 0, list[float]()

    async def probe(self) -> tuple[str, ...]:
        self.probes += 1
        await trio.sleep(0.1)
        if self.probe_fault is not None:
            raise self.probe_fault()
        return self.models

    async def complete(self, call: Call) -> JsonObject:
        self.asked_s.append(round(trio.current_time(), 1))
        if self.fault is not None:
            raise self.fault()
        if (call.body.get("n") or 1) > self._most:
            raise BadRequest(f"at most {self._most}")
        await trio.sleep(self._works_s)
        return self.answer

    async def open_stream(self, call: Call) -> TokenStream:
        raise NotImplementedError

    async def embed(self, call: Call) -> Vectors:
        raise NotImplementedError

    async def aclose(self) -> None: ...


def routing(*servers: ScriptedServer, changes: list[BreakerChanged] | None = None) -> ModelRouter:
    told = [] if changes is None else changes
    return ModelRouter(servers, on_breaker=lambda _, change: told.append(change))


async def test_pauses_are_those_of_the_table(autojump_clock: MockClock) -> None:
    server = ScriptedServer(fault=lambda: Overloaded("busy"))
    with pytest.raises(GivenUp, match="asked 5 times in vain; at last a: busy") as caught:
        await routing(server).complete(CALL)
    begun = server.asked_s[0]
    assert [at - begun for at in server.asked_s] == pytest.approx([0, 1, 3, 7, 15])
    verdicts = [one.verdict for one in caught.value.decision.considered]
    assert verdicts == [Verdict.CHOSEN, *[Verdict.FAILED] * 5]


async def test_other_servers_are_asked_before_any_pause(autojump_clock: MockClock) -> None:
    bad, good = ScriptedServer(fault=lambda: Overloaded("busy")), ScriptedServer("b")
    routed = await routing(bad, good).complete(CALL)
    assert routed.answer == {"by": "b"}
    assert good.asked_s == bad.asked_s


async def test_an_answer_says_how_long_its_server_had_it_in_hand(autojump_clock: MockClock) -> None:
    bad, good = ScriptedServer(fault=lambda: Overloaded("busy")), ScriptedServer("b", works_s=2)
    routed = await routing(bad, good).complete(CALL)
    assert (routed.server, routed.took_ms) == ("b", 2000)


def said(text: str) -> JsonObject:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


async def test_several_answers_took_as_long_as_all_of_them(autojump_clock: MockClock) -> None:
    server = ScriptedServer(works_s=1, answer=said("yes"))
    call = Call(CallKind.CHAT, "m", {"messages": [], "n": 3})
    routed = await FormedAnswers(routing(server)).complete(call, None)
    assert (routed.took_ms, len(routed.answer["choices"])) == (3000, 3)


async def test_several_answers_from_a_server_that_gives_fewer_are_asked_for_one_by_one(
    autojump_clock: MockClock,
) -> None:
    server = ScriptedServer(answer=said("yes"), most=2)
    call = Call(CallKind.CHAT, "m", {"messages": [], "n": 3})
    routed = await FormedAnswers(routing(server)).complete(call, None)
    assert len(routed.answer["choices"]) == 3
    assert len(server.asked_s) == 4
    with pytest.raises(Refused, match="at most 0"):
        await FormedAnswers(routing(ScriptedServer(most=0))).complete(call, None)


async def test_an_answer_that_was_mended_took_as_long_as_both(autojump_clock: MockClock) -> None:
    server = ScriptedServer(works_s=1, answer=said("no JSON"))
    call = Call(CallKind.CHAT, "m", {"messages": [], "response_format": {"type": "json_object"}})

    async def mend() -> None:
        await trio.sleep(1.5)
        server.answer = said("{}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mend)
        routed = await FormedAnswers(routing(server)).complete(call, shape_wanted(call))
    assert (routed.took_ms, len(server.asked_s)) == (2000, 2)


async def test_the_cheaper_server_is_asked_first_and_told_with_its_price(
    autojump_clock: MockClock,
) -> None:
    routed = await routing(ScriptedServer(), ScriptedServer("b", price=99)).complete(CALL)
    assert routed.answer == {"by": "b"}
    assert routed.decision.considered[0].reason == "it is up and has 'm', price 99"


async def test_of_two_that_cost_the_same_the_one_with_more_room_is_asked(
    autojump_clock: MockClock,
) -> None:
    first, second = ScriptedServer(), ScriptedServer("b")
    router = routing(first, second)
    await router.models()
    tickets = [router.known("a").enter() for _ in range(2)]
    assert (await router.complete(CALL)).server == "b"
    for ticket in tickets:
        ticket.end()
    assert (await router.complete(CALL)).server == "a"


async def test_a_server_that_answers_garbage_is_not_asked_again(autojump_clock: MockClock) -> None:
    server = ScriptedServer(fault=lambda: Garbled("html"))
    with pytest.raises(GivenUp, match="asked once in vain"):
        await routing(server).complete(CALL)


async def test_a_list_of_models_is_believed_for_half_a_minute(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    router = routing(server)
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(router.complete, CALL)
    await router.models()
    assert server.probes == 1
    await trio.sleep(31)
    await router.complete(CALL)
    assert server.probes == 2


async def test_a_server_that_is_down_is_told_and_found_again_soon(
    autojump_clock: MockClock,
) -> None:
    server = ScriptedServer(allowed=("m",))
    server.probe_fault = lambda: Unreachable("nothing answers")
    router = routing(server)
    with pytest.raises(NoServerNow, match="nothing answers"):
        await router.complete(CALL)
    with pytest.raises(UnknownModel, match="not reachable now: a"):
        await router.complete(msgspec.structs.replace(CALL, model="n"))
    assert await router.models() == ()
    assert server.probes == 1
    server.probe_fault = None
    await trio.sleep(2)
    assert (await router.complete(CALL)).server == "a"


async def test_only_models_that_the_owner_allows_are_used(autojump_clock: MockClock) -> None:
    router = routing(ScriptedServer(models=("m", "n"), allowed=("n", "q")))
    assert [model.id for model in await router.models()] == ["n"]
    with pytest.raises(UnknownModel):
        await router.complete(CALL)


async def test_a_failing_server_is_left_alone_for_a_minute(autojump_clock: MockClock) -> None:
    changes: list[BreakerChanged] = []
    server = ScriptedServer(fault=lambda: Overloaded("busy"))
    router = routing(server, changes=changes)
    with pytest.raises(GivenUp):
        await router.complete(CALL)
    with pytest.raises(NoServerNow, match="tried again in 60 s") as caught:
        await router.complete(CALL)
    assert caught.value.decision.wait_ms == 60_000
    server.fault = None
    await trio.sleep(60)
    for _ in range(3):
        await router.complete(CALL)
    assert [change.after.value for change in changes] == ["open", "half-open", "closed"]


async def test_a_server_is_sent_no_more_a_minute_than_its_owner_allows(
    autojump_clock: MockClock,
) -> None:
    slow, other = ScriptedServer("slow", per_minute=6), ScriptedServer("other")
    async with routing(slow, other) as router:
        assert (await router.complete(CALL)).server == "slow"
        second = await router.complete(CALL)
        assert second.server == "other"
        assert "more in 10.0 s" in second.decision.considered[0].reason
        await trio.sleep(10)
        assert (await router.complete(CALL)).server == "slow"
    async with routing(ScriptedServer("slow", per_minute=6)) as router:
        await router.complete(CALL)
        with pytest.raises(NoServerNow) as caught:
            await router.complete(CALL)
        assert caught.value.decision.wait_ms == 10_000


@pytest.mark.parametrize(
    ("first", "second", "goes_on"),
    [(100, 200, True), (100, 0, True), (0, 200, True), (0, 0, False), (100, 100, False)],
)
async def test_what_is_too_long_for_one_goes_to_who_may_read_more(
    autojump_clock: MockClock, first: int, second: int, goes_on: bool
) -> None:
    def overflow() -> Failure:
        return ContextOverflow("too long")

    small = ScriptedServer(context=first, fault=overflow, price=1)
    large = ScriptedServer("b", context=second)
    async with ModelRouter([small, large], on_breaker=lambda *_: None) as router:
        if goes_on:
            routed = await router.complete(CALL)
            assert routed.server == "b"
            assert "too long" in routed.decision.considered[-1].reason
        else:
            with pytest.raises(Refused, match="too long"):
                await router.complete(CALL)
            assert large.asked_s == []
        large.fault = overflow
        with pytest.raises(Refused, match="too long"):
            await router.complete(CALL)


class Village:
    """A federation in which one peer has a model, or not."""

    def __init__(self) -> None:
        self.server, self.files = ScriptedServer("peer"), {"m": "0" * 64}
        self.server.settings = msgspec.structs.replace(
            self.server.settings, kind=ServerKind.PEER, models=()
        )

    def servers(self) -> Iterator[tuple[ScriptedServer, Merits, dict[str, str]]]:
        if self.files:
            yield self.server, Merits(free_slots=1), self.files


async def test_a_model_whose_peer_is_gone_may_be_waited_for_by_who_may_ask_peers(
    autojump_clock: MockClock,
) -> None:
    router, village = routing(), Village()
    router.join(village)
    call = msgspec.structs.replace(CALL, peers=True)
    village.files = {}
    with pytest.raises(UnknownModel):
        await router.complete(call)
    village.files = {"m": "0" * 64}
    assert (await router.complete(call)).server == "peer"
    village.files = {}
    for _ in range(2):
        with pytest.raises(NoServerNow, match="it offers no model now"):
            await router.complete(call)
        await trio.sleep(100)
    with pytest.raises(UnknownModel):
        await router.complete(CALL)
    assert await router.models() == ()
    village.files = {"m": "1" * 64}
    assert (await router.complete(call)).server == "peer"


async def test_only_so_many_peers_that_are_gone_are_remembered(autojump_clock: MockClock) -> None:
    router, village = routing(), Village()
    for number in range(300):
        village = Village()
        village.server.settings = msgspec.structs.replace(
            village.server.settings, name=f"peer{number}"
        )
        router.join(village)
        router.meet()
    village.files = {}
    call = msgspec.structs.replace(CALL, peers=True)
    with pytest.raises(NoServerNow) as caught:
        await router.complete(call)
    names = [one.server for one in caught.value.decision.considered]
    assert names == [f"peer{number}" for number in range(300 - 256, 300)]
