"""How a task's content travels: one encrypted stream between the node that asks and the node that works.

    asker                                   executor
      | -- Offer, input in chunks ----------->  |  checks it against the ledger
      | <- Declined | Accepted ---------------  |
      | <- Finished, output in chunks --------  |  or Failed
    | -- Countersigned -------------------->  |  settles with it
      |                                         |

While a conversation is answered, its lines come as `Progress` between `Accepted` and `Finished`, and
the asker may say `Stop`.

Nothing of the content stands on the chain, and no third node sees it. Whoever offers is whom the transport has proven;
what is offered must hash to what the ledger says. Whatever the other side sends, the only error raised here is
`HandoffError`; a stream's own errors, when it is cut, pass through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final, Protocol, TypeVar

import msgspec

from consensus.operations.transactions import SignedReceipt
from gossip.codec import Bytes32, Bytes64, DecodeError, Name, Sentence, Wire, decode, encode

PROTOCOL: Final = "/bizra/task/1"
MAX_CONTENT_BYTES: Final = 64 * 2**20
"""Above the largest input and output that `inference/kinds.py` allows."""

CHUNK_BYTES: Final = 2**20

T = TypeVar("T")

_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_CONTENT_BYTES)]


class HandoffError(Exception):
    """The other side broke the protocol or the stream ended early; the text says what was wrong."""


class Offer(Wire, frozen=True, tag="offer"):
    """Will you do this task? The input follows."""

    task: Bytes32
    kind: Name
    size_bytes: _Size


class Accepted(Wire, frozen=True, tag="accepted"):
    """The work begins."""


class Declined(Wire, frozen=True, tag="declined"):
    """The executor does not take the task."""

    reason: Sentence


class Progress(Wire, frozen=True, tag="progress"):
    """The next lines of an answer that is being written."""

    lines: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=MAX_CONTENT_BYTES)], ...],
        msgspec.Meta(max_length=4096),
    ]


class Finished(Wire, frozen=True, tag="finished"):
    """The signed receipt; the output follows."""

    signed: SignedReceipt
    size_bytes: _Size


class Failed(Wire, frozen=True, tag="failed"):
    """The executor took the task and could not do it."""

    reason: Sentence


Reply = Accepted | Declined | Progress | Finished | Failed


class Stop(Wire, frozen=True, tag="stop"):
    """From the asker while it listens: whoever asked has hung up. What was sent by then is signed for and paid."""


class Countersigned(Wire, frozen=True, tag="countersigned"):
    """From the asker after `Finished`: it has checked the output and signs the receipt too."""

    signature: Bytes64


Word = Stop | Countersigned


class ContentStream(Protocol):
    """What a transport's stream offers: whole messages both ways."""

    async def send(self, message: bytes) -> None:
        """Send one message."""

    async def receive(self) -> bytes | None:
        """The next message; None at the end."""


async def send_offer(stream: ContentStream, offer: Offer, content: bytes) -> None:
    """Offer a task with its input."""
    await stream.send(encode(offer))
    await _send_content(stream, content)


async def receive_offer(stream: ContentStream) -> tuple[Offer, bytes]:
    """Take an offer with its input. Raises `HandoffError`."""
    offer = _decoded(await stream.receive(), Offer)
    return offer, await _receive_content(stream, offer.size_bytes)


async def send_reply(stream: ContentStream, reply: Reply, content: bytes = b"") -> None:
    """Answer an offer; `content` is the output that goes with `Finished`."""
    await stream.send(encode(reply))
    await _send_content(stream, content)


async def receive_replies(stream: ContentStream) -> AsyncIterator[tuple[Reply, bytes]]:
    """The executor's answers up to the last one, with the output of `Finished`. Raises `HandoffError`."""
    has_accepted = False
    while True:
        reply: Reply = _decoded(await stream.receive(), Reply)  # type: ignore[arg-type]  # a union
        if isinstance(reply, Accepted) and has_accepted:
            raise HandoffError("the executor accepted twice")
        if isinstance(reply, Progress) and not has_accepted:
            raise HandoffError("the executor answered before it accepted")
        has_accepted = True
        content = b""
        if isinstance(reply, Finished):
            content = await _receive_content(stream, reply.size_bytes)
        yield reply, content
        if is_last(reply):
            return


def is_last(reply: Reply) -> bool:
    """Whether nothing follows this reply."""
    return not isinstance(reply, Accepted | Progress)


async def send_word(stream: ContentStream, word: Word) -> None:
    """Say something to the executor while it answers, or after its last reply."""
    await stream.send(encode(word))


async def receive_word(stream: ContentStream) -> Word | None:
    """What the asker says next; None once it has ended its side. Raises `HandoffError`."""
    message = await stream.receive()
    if message is None:
        return None
    word: Word = _decoded(message, Word)  # type: ignore[arg-type]  # a union
    return word


async def _send_content(stream: ContentStream, content: bytes) -> None:
    for at in range(0, len(content), CHUNK_BYTES):
        await stream.send(content[at : at + CHUNK_BYTES])


async def _receive_content(stream: ContentStream, size_bytes: int) -> bytes:
    content = bytearray()
    while len(content) < size_bytes:
        chunk = await stream.receive()
        if not chunk or len(content) + len(chunk) > size_bytes:
            raise HandoffError("the content that was announced did not come whole")
        content += chunk
    return bytes(content)


def _decoded(message: bytes | None, kind: type[T]) -> T:
    if message is None:
        raise HandoffError("the other node ended the exchange early")
    try:
        return decode(message, kind)
    except DecodeError as error:
        raise HandoffError(f"the other node sent something else: {error}") from None
