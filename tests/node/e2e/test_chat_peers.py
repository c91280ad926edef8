"""Conversations that a peer answers: from a client's request at one node to a receipt on everybody's ledger.

Each test runs against a model server of our own, and in `make e2e` against a real llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.cli.shapes import moment
from node.views.records import JsonObject
from tests.node.e2e.chat_town import (
    COUNT,
    MESSAGES,
    Makers,
    Town,
    ask,
    ask_for_ever,
    makers,
    post,
    streamed,
)
from tests.node.e2e.daemons import Fleet, await_agreement, until
from tests.node.e2e.model_servers import OwnServer, table

pytestmark = pytest.mark.timeout(180)

LLAMA = pytest.param("llama", marks=[pytest.mark.server, pytest.mark.slow])


@pytest.fixture(scope="module", params=["own", LLAMA])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Makers]:
    found = makers(request.param, tmp_path_factory.mktemp("models"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def town(made: Makers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    fleet = Fleet(tmp_path_factory.mktemp("town"))
    try:
        yield Town(fleet, made)
    finally:
        fleet.stop()


def test_without_consent_nothing_leaves_the_machine(town: Town) -> None:
    answer = post(town.asker, ask())
    assert answer.status_code == 404
    assert "x-bizra-peers" in answer.json()["error"]["message"]
    assert [server.asked() for server in town.servers] == [0, 0]


def test_a_peer_answers_whole_and_is_paid_with_a_receipt_that_all_see(town: Town) -> None:
    answer = post(town.asker, ask(), x_bizra_peers="1", x_bizra_explain="1").json()
    words = answer["choices"][0]["message"]["content"].split()
    assert words == town.makers.words
    view = town.settled(answer["bizra_task"])
    assert view.kind == "chat"
    assert view.place is not None
    assert "it is up and has 'tiny'" in view.place
    assert view.usage is not None
    assert view.usage.tokens > COUNT
    assert answer["bizra"]["considered"][0]["verdict"] == "chosen"
    await_agreement(town.nodes)
    seen = town.nodes[1].client.task(view.task_id)
    assert (seen.status, seen.executor) == ("settled", view.executor)
    executor = next(one for one in town.nodes if one.id == view.executor)
    assert view.countersignature is not None
    until(
        lambda: executor.client.task(view.task_id).countersignature == view.countersignature,
        "the executor to have its asker's signature",
    )


def test_a_stream_comes_through_a_peer_in_pieces(town: Town) -> None:
    chunks = list(streamed(town.asker, ask()))
    assert chunks[-1] == {"done": True}
    texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]]
    assert "".join(texts).split() == town.makers.words
    assert all("logprobs" not in chunk["choices"][0] for chunk in chunks[:-1])
    town.settled(chunks[0]["bizra_task"])


def test_clients_of_ollama_reach_peers_by_the_same_rules(town: Town) -> None:
    asked = {"model": "tiny", "messages": MESSAGES, "options": {"num_predict": COUNT}}
    refused = post(town.asker, asked, "/api/chat")
    assert refused.status_code == 404
    assert "x-bizra-peers" in refused.json()["error"]
    answer = post(town.asker, {**asked, "stream": False}, "/api/chat", x_bizra_peers="1")
    assert answer.json()["message"]["content"].split() == town.makers.words
    assert answer.headers["x-bizra-backend"].startswith("peer:")


def test_the_command_line_asks_peers_and_tells_why(town: Town) -> None:
    if not isinstance(town.servers[0], OwnServer):
        pytest.skip("the command line sets no end, and llama.cpp's model has none")
    done = town.asker.command("chat", "Recite.", "--model", "tiny", "--peers", "--explain")
    assert done.code == 0, done
    assert done.out.split()[:COUNT] == town.makers.words
    assert "peer:" in done.err


def test_who_hangs_up_stops_the_peers_server_and_pays_for_what_came(town: Town) -> None:
    chunks = streamed(town.asker, ask_for_ever())
    first = next(chunks)
    view = town.asker.client.task(first["bizra_task"])
    assert view.executor is not None
    server = town.server_of(view.executor)
    before = server.hung_up()
    chunks.close()  # type: ignore[attr-defined] # a generator
    until(lambda: server.hung_up() > before, "the server to see that nobody listens")
    shown = town.settled(view.task_id)
    assert shown.output is not None
    assert not shown.output["is_whole"]
    assert shown.output["lines"]


def test_a_file_that_no_peer_has_is_nobodys(town: Town) -> None:
    answer = post(town.asker, ask("tiny@00000000"), x_bizra_peers="1")
    assert answer.status_code == 404
    assert "not 00000000" in answer.json()["error"]["message"]


def test_a_server_killed_in_mid_stream_never_ends_the_stream_cleanly(town: Town) -> None:
    chunks = streamed(town.asker, ask_for_ever())
    first = next(chunks)
    view = town.asker.client.task(first["bizra_task"])
    assert view.executor is not None
    server = town.server_of(view.executor)
    server.kill()
    rest = list(chunks)
    assert "error" in rest[-1], rest[-1]
    assert town.asker.client.await_task(view.task_id, 30).status == "failed"
    # Before the first token the other peer takes over, and nobody sees it.
    answer = post(town.asker, ask(), x_bizra_peers="1", x_bizra_explain="1").json()
    assert answer["choices"][0]["message"]["content"].split() == town.makers.words
    town.restart(server)


def test_another_peer_goes_on_with_a_stream_whose_server_was_killed_if_that_was_asked(
    town: Town,
) -> None:
    chunks = streamed(town.asker, ask_for_ever(), x_bizra_continue="1")
    view = town.asker.client.task(next(chunks)["bizra_task"])
    assert view.executor is not None
    lost = town.server_of(view.executor)
    lost.kill()
    seam = _seam_of(chunks)
    assert seam["after_chars"] > 0
    assert view.executor[:12] in seam["lost"]
    assert seam["server"].startswith("peer:")
    assert view.executor[:12] not in seam["server"]
    chunks.close()  # type: ignore[attr-defined] # a generator
    town.restart(lost)


def _seam_of(chunks: Iterator[JsonObject]) -> JsonObject:
    """Where another went on; says how a stream ended that nobody continued."""
    last: JsonObject = {}
    for last in chunks:
        if "bizra_continued" in last:
            seam: JsonObject = last["bizra_continued"]
            return seam
    raise AssertionError(f"nobody went on: {last}")


def test_what_nothing_can_serve_waits_over_a_restart_until_its_server_is_back(town: Town) -> None:
    node, server = town.nodes[1], town.servers[0]
    server.kill()
    until(lambda: len(town.offers()) == 1, "the model to be offered by one peer only", 60)
    placed = post(node, ask(), prefer="respond-async", x_bizra_deadline_s="600")
    assert placed.status_code == 202, placed.text
    first = placed.json()["id"]
    assert placed.json()["position"] == 1
    second = post(node, {**ask(), "queue": True}, x_bizra_priority="9").json()
    assert second["position"] == 1, "the higher priority goes first"
    node.end()
    node.start()
    assert [one.id for one in node.client.queue().requests] == [second["id"], first]
    third = post(node, ask(), "/api/chat", prefer="respond-async")
    assert third.status_code == 202, third.text
    assert node.command("queue", "cancel", third.json()["id"][:12]).code == 0
    done = node.command("queue", "cancel", second["id"][:12])
    assert done.code == 0, done
    assert node.client.queued(first).position == 1
    shown = node.command("queue", "show", first[:12])
    deadline = moment(node.client.queued(first).deadline_ms)
    assert all(word in shown.out for word in ("position", "priority", deadline)), shown
    server.start()
    until(lambda: node.client.queued(first).status == "done", "the queue to be drained", 60)
    shown = node.command("queue", "show", first[:12])
    assert " ".join(town.makers.words) in " ".join(shown.out.split())
    assert node.client.queued(second["id"]).status == "cancelled"
    late = node.command("queue", "retry", second["id"][:12])
    assert (late.code, "only an escalated one" in late.err) == (1, True), late
    until(lambda: len(town.offers()) == 2, "the model to be offered again", 60)


def test_the_model_of_peers_that_have_lost_it_is_waited_for_until_it_is_back(town: Town) -> None:
    for server in town.servers:
        server.kill()
    until(lambda: not town.offers(), "the lost model to be offered no more", 60)
    refused = post(town.asker, ask(), x_bizra_peers="1")
    assert refused.status_code == 503, refused.text
    assert "it offers no model now" in refused.json()["error"]["message"]
    assert post(town.asker, {**ask(), "queue": True}).status_code == 404, "without consent"
    placed = post(town.asker, {**ask(), "queue": True}, x_bizra_peers="1")
    assert placed.status_code == 202, placed.text
    for server in town.servers:
        server.start()
    queued = placed.json()["id"]
    until(lambda: town.asker.client.queued(queued).status == "done", "the queue to be drained", 60)
    said = town.asker.client.queued(queued).answer
    assert said is not None
    assert said["choices"][0]["message"]["content"].split() == town.makers.words
    until(lambda: len(town.offers()) == 2, "both to offer the model again", 60)


def test_a_peer_that_says_the_same_with_another_file_is_found_out(
    fleet: Fleet, made: Makers
) -> None:
    mine, lying, honest = (
        made.server(model="mine"),
        made.server(lies=True),
        made.server(model="other"),
    )
    named = f'files = {{ "tiny" = "{made.true_file()}" }}\n'
    settings = {
        0: "audit_per_cent = 100\n" + table(mine),
        1: table(lying) + named,
        2: table(honest),
    }
    nodes = fleet.federation(3, dict.fromkeys(range(3), ("chat",)), settings)
    asker, liar, friend = nodes

    def offered() -> int:
        peers = asker.client.peers().peers
        return sum(any("models." in name for name in one.capabilities) for one in peers)

    def mismatches() -> list[int]:
        return [one.mismatches for one in asker.client.trust().peers]

    until(lambda: offered() == 2, "the liar and the honest one to offer their models")
    for number in range(1, 4):
        answer = post(asker, ask(), x_bizra_peers="1")
        assert answer.json()["choices"][0]["message"]["content"].split() == made.words
        until(lambda number=number: mismatches() == [number], "a verdict")  # type: ignore[misc]
        (record,) = asker.client.trust().peers
        assert record.node_id == liar.id
        assert (record.trust == 1000) == (number == 1), "one mismatch costs nothing"
    refused = post(asker, ask(), x_bizra_peers="1")
    assert refused.status_code == 503
    assert "were not of the model" in refused.json()["error"]["message"]
    checked = asker.command("trust", "check", friend.id, "--model", "other")
    assert checked.code == 0, checked
    assert checked.out.startswith("match")
    told = asker.command("trust", "forget", liar.id)
    assert told.code == 0, told
    assert [one.node_id for one in asker.client.trust().peers] == [friend.id]


def test_a_request_goes_to_the_peer_whose_model_reads_it(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"the weights of a model")
    small, large = OwnServer(file, context=64), OwnServer(file, context=4096)
    try:
        for server in (small, large):
            server.start()
        settings = {1: table(small) + "price = 1\n", 2: table(large)}
        asker, one, other = fleet.federation(3, {0: (), 1: ("chat",), 2: ("chat",)}, settings)

        def reads() -> dict[str, set[str]]:
            rows = asker.client.peers().peers
            return {
                peer.node_id: {row for row in peer.capabilities if "reads-" in row} for peer in rows
            }

        known = {one.id: {"reads-64.tiny"}, other.id: {"reads-4096.tiny"}}
        until(lambda: reads() == known, "both contexts to be told")
        long = [{"role": "user", "content": "Recite. " * 300}]
        body = {"model": "tiny", "messages": long, "max_tokens": 3}
        answer = post(asker, body, x_bizra_peers="1", x_bizra_explain="1")
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-bizra-backend"] == f"peer:{other.id[:12]}"
        considered = answer.json()["bizra"]["considered"]
        told = {line["server"]: (line["verdict"], line["reason"]) for line in considered}
        verdict, reason = told[f"peer:{one.id[:12]}"]
        assert verdict == "too_long"
        assert "reads 64 tokens" in reason
        assert "reads 4096 tokens" in told[f"peer:{other.id[:12]}"][1]
        assert small.asked() == 0
    finally:
        small.kill()
        large.kill()


def test_peers_without_room_decline_and_the_request_comes_to_another_turn_or_the_queue(
    fleet: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"the weights of a model")
    servers = [OwnServer(file, words=60_000, pause_ms=5) for _ in range(2)]
    try:
        for server in servers:
            server.start()
        settings = {at + 1: table(one) + "slots = 1\n" for at, one in enumerate(servers)}
        asker, *peers = fleet.federation(3, {0: (), 1: ("chat",), 2: ("chat",)}, settings)
        names = {f"peer:{one.id[:12]}" for one in peers}

        def offers() -> int:
            rows = asker.client.peers().peers
            return sum("models.tiny" in one.capabilities for one in rows)

        def declined() -> list[str]:
            reasons = [one.reason or "" for one in asker.client.tasks().tasks]
            return [one for one in reasons if "all 1 slots of 'tiny' are lent" in one]

        until(lambda: offers() == 2, "both peers to offer their model")
        held = [streamed(asker, ask_for_ever()) for _ in peers]
        tasks = [asker.client.task(next(one)["bizra_task"]) for one in held]
        assert {one.executor for one in tasks} == {one.id for one in peers}
        # Whoever would rather wait is not asked to come back: both decline, once.
        placed = post(asker, {**ask(), "queue": True}, x_bizra_peers="1")
        assert placed.status_code == 202, placed.text
        assert len(declined()) == 2, asker.client.tasks()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(post, asker, ask(), x_bizra_peers="1", x_bizra_explain="1")
            until(lambda: len(declined()) >= 4, "both peers to decline once more")
            for one in held:
                one.close()  # type: ignore[attr-defined] # a generator
            answer = waiting.result()
        assert answer.status_code == 200, answer.text
        words = answer.json()["choices"][0]["message"]["content"].split()
        assert len(words) == COUNT
        considered = answer.json()["bizra"]["considered"]
        lent = [one for one in considered if "slots of 'tiny' are lent" in one["reason"]]
        assert {one["server"] for one in lent} == names
        assert answer.headers["x-bizra-backend"] in names
        queued = placed.json()["id"]
        until(lambda: asker.client.queued(queued).status == "done", "the queue to be drained", 60)
    finally:
        for server in servers:
            server.kill()
