"""Nodes with model servers beside them, for tests of conversations: our own server, or llama.cpp's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from node.views.records import JsonObject, TaskView
from tests.node.e2e.daemons import Daemon, Fleet, until
from tests.node.e2e.model_servers import Backend, LlamaServer, OwnServer, table

CACHE = Path(__file__).parents[3] / ".cache" / "e2e"
GENERATOR = CACHE.parents[1] / "scripts" / "tiny_gguf.py"
MESSAGES = [{"role": "user", "content": "Recite."}]
COUNT = 40
LONG = 600
"""Words of our own server when no end is named: three seconds."""
PAUSE_MS = 5
"""What our own server waits before each word."""
LIE = -0.031
"""What another file thinks of the same words."""


class Makers:
    """Makes servers of one kind, and the file that they all have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Backend] = []

    def true_file(self) -> Path:
        raise NotImplementedError

    def server(self, *, model: str = "tiny", lies: bool = False) -> Backend:
        """A running server of the true file, or of another one that says the same."""
        made = self._made(model, lies=lies)
        made.start()
        self.made.append(made)
        return made

    def _made(self, model: str, *, lies: bool) -> Backend:
        raise NotImplementedError

    @property
    def words(self) -> list[str]:
        """What an answer of `COUNT` words says."""
        raise NotImplementedError

    def stop(self) -> None:
        for server in self.made:
            server.kill()


class OwnMakers(Makers):
    def true_file(self) -> Path:
        file = self.folder / "tiny.gguf"
        file.write_bytes(b"the weights of a model")
        return file

    def _made(self, model: str, *, lies: bool) -> Backend:
        certainty = LIE if lies else 0.0
        return OwnServer(
            self.true_file(), model=model, words=LONG, pause_ms=PAUSE_MS, certainty=certainty
        )

    @property
    def words(self) -> list[str]:
        return [f"word{at}" for at in range(COUNT)]


class LlamaMakers(Makers):
    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self._program = program

    def _file(self, name: str, *options: str) -> Path:
        file = self.folder / name
        if not file.exists():
            subprocess.run(
                [sys.executable, GENERATOR, file, "--endless", *options],
                env={"PYTHONPATH": str(CACHE / "python")},
                check=True,
            )
        return file

    def true_file(self) -> Path:
        return self._file("tiny.gguf")

    def _made(self, model: str, *, lies: bool) -> Backend:
        file = self._file("liar.gguf", "--certainty", str(LIE)) if lies else self.true_file()
        log = self.folder / f"server{len(self.made)}.log"
        return LlamaServer(self._program, file, log, model=model)

    @property
    def words(self) -> list[str]:
        source = GENERATOR.read_text().partition("SENTENCE = (")[2].partition("\n)")[0]
        said = "".join(re.findall(r'^    "(.*)"$', source, re.MULTILINE)).split()
        return (said * COUNT)[:COUNT]


def makers(kind: str, folder: Path) -> Makers:
    """The makers of a kind; skips where llama.cpp is not built."""
    if kind == "own":
        return OwnMakers(folder)
    programs = sorted(CACHE.glob("llama-server-*[0-9]"))
    if not programs:
        pytest.skip("llama.cpp is not built here; make e2e does that")
    return LlamaMakers(folder, programs[-1])


class Town:
    """Three validators: the first has no model, the others have one server each with the same file."""

    def __init__(self, fleet: Fleet, made: Makers) -> None:
        self.makers = made
        self.servers = [made.server(), made.server()]
        kinds = ("embed", "chat")
        settings = {at + 1: table(server) for at, server in enumerate(self.servers)}
        self.nodes = fleet.federation(3, {0: (), 1: kinds, 2: kinds}, settings)
        self.asker = self.nodes[0]
        until(lambda: len(self.offers()) == 2, "both peers to offer their model")

    def restart(self, server: Backend) -> None:
        """Bring a killed server back, when its node has taken its offer back: else that might still come."""
        until(lambda: len(self.offers()) == 1, "the lost model to be offered no more", 60)
        server.start()
        until(lambda: len(self.offers()) == 2, "the model to be offered again", 60)

    def offers(self) -> list[str]:
        peers = self.asker.client.peers().peers
        return [one.node_id for one in peers if "models.tiny" in one.capabilities]

    def server_of(self, node_id: str) -> Backend:
        return self.servers[[one.id for one in self.nodes[1:]].index(node_id)]

    def settled(self, task: str) -> TaskView:
        view = self.asker.client.await_task(task, 30)
        assert view.status == "settled", view
        return view


def post(
    node: Daemon, body: JsonObject, path: str = "/v1/chat/completions", **headers: str
) -> httpx2.Response:
    with httpx2.Client(base_url=node.client.url, trust_env=False, timeout=60) as http:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return http.post(path, json=body, headers=told)


def streamed(node: Daemon, body: JsonObject, **headers: str) -> Iterator[JsonObject]:
    """The chunks of a streamed answer, and at last `{"done": true}` if it ended as one should."""
    with (
        httpx2.Client(base_url=node.client.url, trust_env=False, timeout=60) as http,
        http.stream(
            "POST",
            "/v1/chat/completions",
            json={**body, "stream": True},
            headers={"x-bizra-peers": "1"}
            | {name.replace("_", "-"): value for name, value in headers.items()},
        ) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                yield {"done": True}
            elif line.startswith("data: "):
                yield json.loads(line[len("data: ") :])


def ask(model: str = "tiny") -> JsonObject:
    """An answer of `COUNT` words."""
    return {"model": model, "messages": MESSAGES, "max_tokens": COUNT}


def ask_for_ever() -> JsonObject:
    """As long an answer as the server will give."""
    return {"model": "tiny", "messages": MESSAGES}
