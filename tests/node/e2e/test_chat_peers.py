"""Conversations that a peer answers: from a client's request at one node to a receipt on everybody's ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from node.gateway.views import JsonObject, TaskView
from tests.node.e2e.daemons import Daemon, Fleet, await_agreement, until
from tests.node.e2e.model_servers import OwnServer, table

pytestmark = pytest.mark.timeout(120)

MESSAGES = [{"role": "user", "content": "Recite."}]


class Town:
    """Three validators: the first has no model, the others have one server each with the same file."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        file = folder / "tiny.gguf"
        file.write_bytes(b"the weights of a model")
        self.servers = [OwnServer(file, words=40, pause_ms=5) for _ in range(2)]
        for server in self.servers:
            server.start()
        kinds = ("embed", "chat")
        settings = {at + 1: table(server) for at, server in enumerate(self.servers)}
        self.nodes = fleet.federation(3, {0: (), 1: kinds, 2: kinds}, settings)
        self.asker = self.nodes[0]
        until(lambda: len(self.offers()) == 2, "both peers to offer their model")

    def offers(self) -> list[str]:
        peers = self.asker.client.peers().peers
        return [one.node_id for one in peers if "models.tiny" in one.capabilities]

    def server_of(self, node_id: str) -> OwnServer:
        return self.servers[[one.id for one in self.nodes[1:]].index(node_id)]

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


@pytest.fixture(scope="module")
def town(shared_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town(shared_fleet, tmp_path_factory.mktemp("models"))
    yield made
    made.stop()


def post(node: Daemon, body: JsonObject, **headers: str) -> httpx2.Response:
    with httpx2.Client(base_url=node.client.url, trust_env=False, timeout=60) as http:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return http.post("/v1/chat/completions", json=body, headers=told)


def streamed(node: Daemon, body: JsonObject) -> Iterator[JsonObject]:
    """The chunks of a streamed answer, and at last `{"done": true}` if it ended as one should."""
    with (
        httpx2.Client(base_url=node.client.url, trust_env=False, timeout=60) as http,
        http.stream(
            "POST",
            "/v1/chat/completions",
            json={**body, "stream": True},
            headers={"x-bizra-peers": "1"},
        ) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                yield {"done": True}
            elif line.startswith("data: "):
                yield json.loads(line[len("data: ") :])


def ask(model: str = "tiny") -> JsonObject:
    return {"model": model, "messages": MESSAGES}


def settled(town: Town, task: str) -> TaskView:
    view = town.asker.client.await_task(task, 30)
    assert view.status == "settled", view
    return view


def test_without_consent_nothing_leaves_the_machine(town: Town) -> None:
    answer = post(town.asker, ask())
    assert answer.status_code == 404
    assert "x-bizra-peers" in answer.json()["error"]["message"]
    assert [server.asked() for server in town.servers] == [0, 0]


def test_a_peer_answers_whole_and_is_paid_with_a_receipt_that_all_see(town: Town) -> None:
    answer = post(town.asker, ask(), x_bizra_peers="1", x_bizra_explain="1").json()
    words = answer["choices"][0]["message"]["content"].split()
    assert len(words) == 40
    view = settled(town, answer["bizra_task"])
    assert view.kind == "chat"
    assert view.place is not None
    assert "it is up and has 'tiny'" in view.place
    assert view.usage is not None
    assert view.usage.tokens == 47
    assert answer["bizra"]["considered"][0]["verdict"] == "chosen"
    await_agreement(town.nodes)
    seen = town.nodes[1].client.task(view.task_id)
    assert (seen.status, seen.executor) == ("settled", view.executor)


def test_a_stream_comes_through_a_peer_in_pieces(town: Town) -> None:
    chunks = list(streamed(town.asker, ask()))
    assert chunks[-1] == {"done": True}
    texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]]
    assert "".join(texts).split() == [f"word{at}" for at in range(40)]
    assert all("logprobs" not in chunk["choices"][0] for chunk in chunks[:-1])
    settled(town, chunks[0]["bizra_task"])


def test_the_command_line_asks_peers_and_tells_why(town: Town) -> None:
    done = town.asker.command("chat", "Recite.", "--model", "tiny", "--peers", "--explain")
    assert done.code == 0, done
    assert done.out.split()[:40] == [f"word{at}" for at in range(40)]
    assert "peer:" in done.err


def test_who_hangs_up_stops_the_peers_server_and_pays_for_what_came(town: Town) -> None:
    chunks = streamed(town.asker, ask())
    first = next(chunks)
    view = town.asker.client.task(first["bizra_task"])
    assert view.executor is not None
    server = town.server_of(view.executor)
    before = server.hung_up()
    chunks.close()  # type: ignore[attr-defined] # a generator
    until(lambda: server.hung_up() > before, "the server to see that nobody listens")
    shown = settled(town, view.task_id)
    assert shown.output is not None
    assert not shown.output["is_whole"]
    assert 0 < len(shown.output["lines"]) < 42


def test_a_file_that_no_peer_has_is_nobodys(town: Town) -> None:
    answer = post(town.asker, ask("tiny@00000000"), x_bizra_peers="1")
    assert answer.status_code == 404
    assert "not 00000000" in answer.json()["error"]["message"]


def test_a_server_killed_in_mid_stream_never_ends_the_stream_cleanly(town: Town) -> None:
    chunks = streamed(town.asker, ask())
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
    assert len(answer["choices"][0]["message"]["content"].split()) == 40
    server.start()
    until(lambda: len(town.offers()) == 2, "the model to be offered again", 60)
