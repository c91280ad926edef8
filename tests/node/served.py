"""A node that answers over real sockets while a test talks with it in its own thread, under either event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from consensus.genesis import Genesis
from node.client import Client
from node.storage.home import Home
from tests.node.alone import Alone, serving


@dataclass
class Served:
    """A node in another thread, with its own loop."""

    home: Home
    url: str
    genesis: Genesis
    node: Alone
    token: trio.lowlevel.TrioToken

    def client(self) -> Client:
        return Client(self.url, self.home.read_token)

    def ask(self, what: Callable[[], object]) -> None:
        """Have something done in the node's thread."""
        trio.from_thread.run_sync(what, trio_token=self.token)


@contextmanager
def serving_beside(path: Path) -> Iterator[Served]:
    """Serve the home's node in a thread until the block ends."""
    started, box, stop = threading.Event(), list[Served](), trio.Event()

    async def serve() -> None:
        async with serving(path) as (node, url):
            token = trio.lowlevel.current_trio_token()
            box.append(Served(Home(path), url, node.genesis, node, token))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert started.wait(20)
    try:
        yield box[0]
    finally:
        box[0].ask(stop.set)
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def served(home_path: Path) -> Iterator[Served]:
    with serving_beside(home_path) as one:
        yield one


@pytest.fixture(params=["trio", "asyncio"])
def run(
    request: pytest.FixtureRequest,
) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    return lambda story: anyio.run(story, backend=request.param)
