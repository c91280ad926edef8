"""Model servers that come and go while the node runs."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import trio

from inference.backends.router import ModelRouter
from node.models import backends as backends_module
from node.models.backends import Backends
from node.models.files import ModelFiles
from node.storage.home import Home
from tests.inference.servers import model_server
from tests.node.model_gateway import ModelGateway, model_gateway
from tests.node.test_cli import call


async def origins(gateway: ModelGateway) -> dict[str, str]:
    answer = await gateway.http.get("/api/v2/backends")
    return {row["name"]: row["origin"] for row in answer.json()["backends"]}


async def test_a_server_is_added_asked_and_removed_while_the_node_runs(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path) as gateway:
        server.card = {"max_model_len": 4096}
        ended = await call(home_path, "backends", "add", "mine", server.url)
        assert ended.code == 0, ended.err
        answer = await gateway.openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}]
        )
        assert answer.choices[0].message.content == "one two three "
        listed = await call(home_path, "backends", "list")
        assert "m (4096)" in listed.out
        ended = await call(home_path, "backends", "remove", "mine")
        assert ended.code == 0, ended.err
        gone = await gateway.http.post(
            "/v1/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "hello"}]},
        )
        assert gone.status_code == 404
        assert await origins(gateway) == {"embedded": "built-in"}


async def test_a_server_that_is_not_there_is_added_and_shown_with_what_is_wrong(
    home_path: Path,
) -> None:
    async with model_gateway(home_path):
        added = await call(home_path, "backends", "add", "mine", "http://127.0.0.1:1")
        assert added.code == 0, added.err
        assert "it is down: nothing answers at http://127.0.0.1:1" in added.out
        listed = await call(home_path, "backends", "list")
        assert "mine is down: nothing answers at http://127.0.0.1:1" in listed.out


async def test_what_was_added_is_there_after_a_restart_and_private(home_path: Path) -> None:
    async with model_server() as server:
        async with model_gateway(home_path):
            words = ("backends", "add", "mine", server.url, "--api-key", "secret")
            assert (await call(home_path, *words)).code == 0
        assert Home(home_path).backends.stat().st_mode & 0o077 == 0
        async with model_gateway(home_path) as gateway:
            assert await origins(gateway) == {"mine": "added", "embedded": "built-in"}
            listed = await gateway.http.get("/api/v2/backends")
            assert "secret" not in listed.text


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({"name": "x", "url": "http://example.org:80", "kind": "openai"}, 422),
        ({"name": "embedded", "url": "http://127.0.0.1:1", "kind": "openai"}, 422),
        ({"name": "x", "url": "http://127.0.0.1:1", "kind": "other"}, 422),
        ({"name": "x", "url": "http://127.0.0.1:1", "kind": "openai", "more": 1}, 422),
        ({"name": "x"}, 422),
        ([], 400),
    ],
)
async def test_a_wrong_server_is_refused(home_path: Path, row: object, status: int) -> None:
    async with model_gateway(home_path) as gateway:
        headers = {"Authorization": f"Bearer {Home(home_path).read_token()}"}
        answer = await gateway.http.post("/api/v2/backends", json=row, headers=headers)
        assert answer.status_code == status, answer.text
        assert (await gateway.http.post("/api/v2/backends", json=row)).status_code == 401
        unknown = await gateway.http.delete("/api/v2/backends/none", headers=headers)
        assert unknown.status_code == 404


async def test_servers_on_their_usual_ports_are_found_once(
    home_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        model_server("ollama") as ollama,
        model_server(models=("auto", "m")) as other_node,
        model_gateway(home_path) as gateway,
    ):
        usual = (("ollama", ollama.url, "ollama"), ("vllm", other_node.url, "openai"))
        monkeypatch.setattr(backends_module, "USUAL", usual)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.backends.look_around)
            with trio.fail_after(10):
                while "ollama" not in (found := await origins(gateway)) or not other_node.probes:
                    await trio.lowlevel.checkpoint()
            assert found == {"ollama": "found", "embedded": "built-in"}
            await gateway.backends.remove("ollama")
            nursery.cancel_scope.cancel()
        with trio.move_on_after(0.2):
            await gateway.backends.look_around()
        assert "ollama" not in await origins(gateway)


async def test_the_file_of_a_found_server_is_known_and_lent_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"of a model")
    file = sha256(b"of a model").hexdigest()
    async with model_server() as server, ModelRouter([], on_breaker=_ignore) as router:
        server.file = str(weights)
        monkeypatch.setattr(backends_module, "USUAL", (("found", server.url, "openai"),))
        files = ModelFiles((), router)
        backends = Backends(router, (), tmp_path / "backends.toml", lambda: 0, files)
        with trio.move_on_after(0.2):
            await backends.look_around()
        await files.look()
        assert [one.models[0].file for one in (await backends.rows()).backends] == [file]
        assert files.models() == ()
        row: dict[str, object] = {"name": "mine", "url": server.url, "kind": "openai"}
        await backends.add(row)
        await files.look()
        assert files.models() == (("m", file),)


async def test_a_file_that_is_named_without_its_folder_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").write_bytes(b"of another model")
    monkeypatch.chdir(tmp_path)
    async with model_server() as server, ModelRouter([], on_breaker=_ignore) as router:
        server.file = "weights"
        files = ModelFiles((), router)
        backends = Backends(router, (), tmp_path / "backends.toml", lambda: 0, files)
        await backends.add({"name": "mine", "url": server.url, "kind": "openai"})
        await files.look()
        assert [one.models[0].file for one in (await backends.rows()).backends] == [None]
        assert files.models() == ()


def _ignore(_name: str, _change: object) -> None: ...
