"""The model server of `servers.py` as a process of its own, so that it can be killed.

    python -m tests.inference.serve --port 0 --model m --file weights --words 40 --pause-ms 5

Prints its port, then a line for each request (`asked`) and for each caller that hung up (`hung up`).
"""

from __future__ import annotations

import argparse
from functools import partial

import trio

from tests.inference.servers import ModelServer, Speak


async def main(given: argparse.Namespace) -> None:
    text = " ".join(f"word{number}" for number in range(given.words))
    server = ModelServer("openai", (given.model,), [Speak(text, pause_ms=given.pause_ms)])
    server.file, server.certainty = given.file, given.certainty
    server.obeys_limits = True
    server.card = {"max_model_len": given.context} if given.context else {}
    server.tell = lambda what: print(what, flush=True)  # noqa: T201 - its owner reads it
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, given.port, host="127.0.0.1")
        listeners = await nursery.start(serve)
        server.tell(str(listeners[0].socket.getsockname()[1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="m")
    parser.add_argument("--file", required=True)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--context", type=int, default=0, help="What it says that it reads.")
    parser.add_argument("--pause-ms", type=int, default=0)
    parser.add_argument(
        "--certainty", type=float, default=0.0, help="The log-probability it tells."
    )
    trio.run(main, parser.parse_args())
