"""The least on Trio that stands between a caller and a server: `python -m node.bench.inference.relay PORT`.

Bytes go on as they come, in both directions, and nobody looks at them: two tasks a connection on bare
Trio, two system calls a piece. A door that spares the turns of the loop (`inference/pump.py`) may cost as little
while it does more. The port stands on the first line of stdout.
"""

from __future__ import annotations

import socket
import sys

import trio

from inference.plain_socket import PlainSocket, connect


async def _copy(source: PlainSocket, target: PlainSocket, scope: trio.CancelScope) -> None:
    try:
        while part := await source.receive_some():
            await target.send_all(part)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


async def _relay(accepted: trio.SocketStream, port: int) -> None:
    caller = PlainSocket(socket.socket(fileno=accepted.socket.detach()))
    server = await connect("127.0.0.1", port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, caller, server, nursery.cancel_scope)
        nursery.start_soon(_copy, server, caller, nursery.cancel_scope)
    caller.close()
    server.close()


async def main(port: int) -> None:
    """Until it is killed."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    sys.stdout.write(f"{listeners[0].socket.getsockname()[1]}\n")
    sys.stdout.flush()

    async def relay(accepted: trio.SocketStream) -> None:
        await _relay(accepted, port)

    await trio.serve_listeners(relay, listeners)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
