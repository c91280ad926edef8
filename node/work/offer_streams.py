"""The executor's end of the streams on which tasks are offered: offers in, the desk's answers out.

One stream for each offer of a member. Answers wait in it until they are sent, the lines of a
conversation before the last of them and not before the claim is final; an asker that offers again
gets the answers on its newest stream.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from gossip.codec import Digest
from gossip.identity import NodeId
from gossip.transport import Stream, TransportError
from inference.desk_events import Answer, CountersignReceived, OfferReceived, TaskEvent
from inference.handoff import (
    Countersigned,
    Finished,
    HandoffError,
    Progress,
    Reply,
    Stop,
    is_last,
    receive_offer,
    receive_word,
    send_reply,
)
from node.work.chat_work import COALESCE_S, ChatWork

log = structlog.get_logger(__name__)

_OFFER_TIMEOUT_S: Final = 120.0
_COUNTERSIGN_S: Final = 2.0
_OFFERS_AT_ONCE: Final = 4
"""Offers of one member that are being received: each may hold an input in memory before it can be judged."""


@dataclass(slots=True)
class _OpenOffer:
    """A stream on which an offer waits for its answers; `scope` ends when the asker offers again."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    replies: deque[tuple[Reply, bytes]] = field(default_factory=deque)
    wake: trio.Event = field(default_factory=trio.Event)
    heard: trio.Event = field(default_factory=trio.Event)
    """The asker has said its last word."""


class OfferStreams:
    """All open offers of others. `has_claimed` says whether a task is this node's on the ledger."""

    def __init__(
        self,
        is_member: Callable[[NodeId], bool],
        chats: ChatWork,
        has_claimed: Callable[[Digest], bool],
        post: Callable[[TaskEvent], None],
    ) -> None:
        self._is_member, self._chats = is_member, chats
        self._has_claimed, self._post = has_claimed, post
        self._offers: dict[tuple[NodeId, Digest], _OpenOffer] = {}
        self._receiving: Counter[NodeId] = Counter()
        chats.on_news = self.wake

    def answer(self, effect: Answer) -> None:
        """Put an answer on the newest stream of its offer; lost if there is none."""
        opened = self._offers.get((effect.peer, effect.task))
        if opened is not None:
            opened.replies.append((effect.reply, effect.content))
            opened.wake.set()

    def wake(self, task: Digest) -> None:
        """A conversation has lines to send, or may send them now."""
        for (_, name), opened in self._offers.items():
            if name == task:
                opened.wake.set()

    def holds(self, task: Digest) -> bool:
        """Whether somebody listens for this task's answers."""
        return any(name == task for _, name in self._offers)

    async def serve(self, peer: NodeId, stream: Stream) -> None:
        """One stream of a member: the offer, then the desk's answers as they come."""
        if not self._is_member(peer):
            log.warning("offer of a stranger refused", peer=peer.hex())
            return
        if self._receiving[peer] >= _OFFERS_AT_ONCE:
            log.warning("too many offers of one member at once", peer=peer.hex())
            return
        self._receiving[peer] += 1
        try:
            with trio.fail_after(_OFFER_TIMEOUT_S):
                offer, content = await receive_offer(stream)
        except (HandoffError, trio.TooSlowError) as error:
            log.warning("offer broken off", peer=peer.hex(), reason=str(error))
            return
        finally:
            self._receiving[peer] -= 1
            if not self._receiving[peer]:
                del self._receiving[peer]
        name = (peer, Digest(offer.task))
        opened = _OpenOffer()
        older, self._offers[name] = self._offers.get(name), opened
        if older is not None:
            older.scope.cancel()
        self._post(OfferReceived(peer, offer, content))
        try:
            with opened.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, stream, name, opened)
                    await self._answer(stream, name[1], opened)
                    with trio.move_on_after(_COUNTERSIGN_S):
                        await opened.heard.wait()
                    nursery.cancel_scope.cancel()
        finally:
            if self._offers.get(name) is opened:
                del self._offers[name]
                self._chats.stop(name[1])
                self._chats.forget(name[1])

    async def _listen(
        self, stream: Stream, name: tuple[NodeId, Digest], opened: _OpenOffer
    ) -> None:
        """An asker that says `Stop`, or is gone, wants no more of a conversation; at last it countersigns."""
        with suppress(TransportError, HandoffError):
            word = await receive_word(stream)
            if isinstance(word, Stop):
                self._chats.stop(name[1])
                word = await receive_word(stream)
            if isinstance(word, Countersigned):
                self._post(CountersignReceived(*name, word.signature))
        opened.heard.set()
        self._chats.stop(name[1])

    def _may_tell(self, task: Digest, opened: _OpenOffer) -> bool:
        """Whether lines may leave: the claim is final. A receipt that waits says so too.

        The ledger may have settled the task by then, and all lines must be out before the receipt.
        """
        return self._has_claimed(task) or any(
            isinstance(reply, Finished) for reply, _ in opened.replies
        )

    async def _answer(self, stream: Stream, task: Digest, opened: _OpenOffer) -> None:
        """Send replies until the last one is sent, and the lines of a conversation before that."""
        while True:
            opened.wake = trio.Event()
            if opened.replies and not is_last(opened.replies[0][0]):
                await send_reply(stream, *opened.replies.popleft())
            elif self._may_tell(task, opened) and (lines := self._chats.take(task)):
                await send_reply(stream, Progress(lines))
                await trio.sleep(COALESCE_S)
            elif opened.replies:
                await send_reply(stream, *opened.replies.popleft())
                return
            else:
                await opened.wake.wait()
