"""The listening sockets, and how many strangers may stand in the door at once."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from gossip.transport import ListenError
from gossip.transport.address import Address

_SENTENCES = {
    errno.EADDRINUSE: "is in use: stop the program that listens there, or choose another port",
    errno.EADDRNOTAVAIL: "is not an address of this machine: choose one of its own, or 0.0.0.0",
    errno.EACCES: "needs rights that this program lacks: choose a port above 1023",
}


async def open_doors(addresses: Sequence[str]) -> list[trio.SocketListener]:
    """Listen on every address, or on none and raise `ListenError`."""
    listeners: list[trio.SocketListener] = []
    try:
        for text in addresses:
            listeners += await _open_door(text)
    except ListenError:
        for listener in listeners:
            await trio.aclose_forcefully(listener)
        raise
    return listeners


async def _open_door(text: str) -> Sequence[trio.SocketListener]:
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise ListenError(f"can't listen: {error}") from None
    if address.peer is not None or not address.kind.startswith("ip"):
        raise ListenError(f"can't listen on {text}: name an IP address and a port, nothing more")
    try:
        return await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        what = _SENTENCES.get(error.errno or 0, f"can't be listened on: {error}")
        raise ListenError(f"{text} {what}") from error


def address_of(listener: trio.SocketListener) -> Address:
    """Where it listens, with the port that it got."""
    return Address.of_socket(listener.socket.getsockname()[:2])


class Handshakes:
    """Bounds the handshakes under way. When all places are taken, the oldest is shown out.

    So half-open connections never keep a newcomer waiting, who needs milliseconds.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._scopes: dict[trio.CancelScope, None] = {}

    @contextmanager
    def place(self, within_s: float) -> Iterator[None]:
        """A place for the block.

        Raises `trio.TooSlowError` when its time is over, or it is shown out.
        """
        while len(self._scopes) >= self._places:
            oldest = next(iter(self._scopes))
            del self._scopes[oldest]
            oldest.cancel()
        with trio.move_on_after(within_s) as scope:
            self._scopes[scope] = None
            try:
                yield
            finally:
                self._scopes.pop(scope, None)
        if scope.cancelled_caught:
            raise trio.TooSlowError
