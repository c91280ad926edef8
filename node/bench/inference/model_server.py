"""A model server that costs next to nothing: `python -m node.bench.inference.model_server`.

It speaks OpenAI's protocol over HTTP/1.1 with answers made beforehand: one thread, one selector, no
framework. A streamed answer comes as real ones do, one chunk at a time with pauses between. The
port stands on the first line of stdout; the end of stdin ends the process.
"""

from __future__ import annotations

import heapq
import json
import selectors
import socket
import sys
import time
from collections import deque
from typing import Final

MODEL: Final = "bench-model"
STREAM_CHUNKS: Final = 20
PAUSE_S: Final = 0.01
"""Between two chunks of a stream: a model that writes 100 tokens a second."""
_READ_BYTES: Final = 65_536
_WORDS: Final = tuple(f"word{number} " for number in range(STREAM_CHUNKS))
_HEAD_END: Final = b"\r\n\r\n"


def _json_reply(value: object) -> bytes:
    body = json.dumps(value).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _framed(data: bytes) -> bytes:
    """One chunk of HTTP's chunked coding."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(choices: list[object]) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_750_000_000,
        "model": MODEL,
        "choices": choices,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _pieces() -> tuple[bytes, ...]:
    """What a streamed answer sends, one after the other."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    deltas: list[dict[str, str]] = [{"content": word} for word in _WORDS]
    deltas[0] = {"role": "assistant", **deltas[0]}
    events = [
        _framed(_event([{"index": 0, "delta": delta, "finish_reason": None}])) for delta in deltas
    ]
    last = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + b"data: [DONE]\n\n"
    events[0] = head + events[0]
    events[-1] += _framed(last) + b"0\r\n\r\n"
    return tuple(events)


_MODELS: Final = _json_reply({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
_ANSWER: Final = _json_reply(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(_WORDS)},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 29},
    }
)
_STREAM: Final = _pieces()


class _Connection:
    """One caller: its bytes so far, and what it is still owed."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.owed: deque[bytes] = deque()

    def requests(self) -> list[tuple[bytes, bytes]]:
        """The requests that are whole: path and body."""
        found = []
        while (end := self.received.find(_HEAD_END)) >= 0:
            lines = bytes(self.received[:end]).split(b"\r\n")
            size = 0
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            if len(self.received) < end + len(_HEAD_END) + size:
                break
            begin = end + len(_HEAD_END)
            found.append((lines[0].split(b" ")[1], bytes(self.received[begin : begin + size])))
            del self.received[: begin + size]
        return found


class ModelServer:
    """Serves until stdin ends."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, _Connection]] = []
        """A heap of the streams that go on: when, a number that orders those of one time, which."""
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(0)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def run(self) -> None:
        while True:
            timeout = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(timeout):
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            self._go_on()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _read(self, connection: _Connection) -> None:
        try:
            received = connection.sock.recv(_READ_BYTES)
        except OSError:
            received = b""
        if not received:
            self._selector.unregister(connection.sock)
            connection.sock.close()
            connection.owed.clear()
            return
        connection.received += received
        for path, body in connection.requests():
            if path.endswith(b"/models"):
                connection.sock.sendall(_MODELS)
            elif b'"stream":true' in body.replace(b" ", b""):
                connection.owed.extend(_STREAM)
                self._send_next(connection)
            else:
                connection.sock.sendall(_ANSWER)

    def _go_on(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            self._send_next(heapq.heappop(self._due)[2])

    def _send_next(self, connection: _Connection) -> None:
        if not connection.owed:
            return
        try:
            connection.sock.sendall(connection.owed.popleft())
        except OSError:
            connection.owed.clear()
        if connection.owed:
            self._count += 1
            heapq.heappush(self._due, (time.monotonic() + PAUSE_S, self._count, connection))


def main() -> None:
    """Tell the port, and serve."""
    server = ModelServer()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.run()


if __name__ == "__main__":
    main()
