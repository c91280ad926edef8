"""Deeds asked for twice are done once: the first answer is kept under the caller's `Idempotency-Key`.

The key is on disk before the deed begins. If the node ends in between, nobody knows what became of it: then the key
answers `idempotency_unknown`, and the caller looks at its account before it asks under another key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from gossip.codec import DecodeError, Digest, Natural, Wire, decode, digest, encode
from node.gateway.endpoint import Handler
from node.gateway.fields import MAX_TASK_BODY_BYTES, read_body
from node.gateway.guard import OwnerCheck
from node.storage.store import LevelStore
from node.tokens import OWNER
from node.views.facade import Problem

LIFE_MS = 24 * 60 * 60 * 1000
MOST_KEYS = 10_000
_PREFIX = b"idempotency/"
_FORM = re.compile(r"[!-~]{1,128}")


class _Record(Wire, frozen=True):
    """What is known of a key. `answer` is None until the deed is done."""

    request: bytes
    created_ms: Natural
    status: Natural = 0
    answer: bytes | None = None


class Idempotency:
    """The keys of the last 24 hours, each token's own; at most `MOST_KEYS`, the oldest go first."""

    def __init__(self, store: LevelStore, owner: OwnerCheck, now_ms: Callable[[], int]) -> None:
        self._store, self._owner, self._now_ms = store, owner, now_ms
        self._known: dict[str, _Record] = {}
        self._under_way: set[str] = set()
        for key, raw in store.scan(_PREFIX):
            try:
                self._known[key[len(_PREFIX) :].decode("ascii")] = decode(raw, _Record)
            except (DecodeError, UnicodeDecodeError):
                store.write([(key, None)])
        self._known = dict(sorted(self._known.items(), key=lambda item: item[1].created_ms))

    def over(self, handler: Handler) -> Handler:
        """A handler that does what it does once for each key."""

        async def handle(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None:
                return await handler(request)
            caller = self._owner.require(request)
            if not _FORM.fullmatch(key):
                raise Problem(
                    400,
                    "bad_idempotency_key",
                    "Idempotency-Key: must be 1 to 128 visible ASCII characters",
                )
            if caller != OWNER:
                key = f"{caller} {key}"
            body = await read_body(request, MAX_TASK_BODY_BYTES)
            asked = _fingerprint(request, body)
            known = self._known.get(key)
            if known is not None and self._now_ms() - known.created_ms < LIFE_MS:
                return self._again(key, known, asked)
            return await self._first(key, asked, handler, Request(request.scope, _once(body)))

        return handle

    def _again(self, key: str, known: _Record, asked: Digest) -> Response:
        if known.request != asked:
            raise Problem(
                422,
                "idempotency_key_reused",
                "this Idempotency-Key was used for another request; take a new one",
            )
        if known.answer is not None:
            headers = {"Idempotent-Replayed": "true"}
            return Response(known.answer, known.status, headers, media_type="application/json")
        if key in self._under_way:
            raise Problem(
                409,
                "idempotency_key_in_use",
                "the first request with this key is not answered yet; ask again",
                retry_after_s=1,
            )
        raise Problem(
            409,
            "idempotency_unknown",
            "the node ended before it could answer the first request with this key, which may "
            "have been done: look at the account or the tasks, then ask again with another key",
        )

    async def _first(self, key: str, asked: Digest, handler: Handler, request: Request) -> Response:
        record = _Record(asked, self._now_ms())
        self._under_way.add(key)
        try:
            await self._keep(key, record)
            response = await handler(request)
        except Problem:
            await self._keep(key, None)
            raise
        finally:
            self._under_way.discard(key)
        done = msgspec.structs.replace(
            record, status=response.status_code, answer=bytes(response.body)
        )
        await self._keep(key, done)
        return response

    async def _keep(self, key: str, record: _Record | None) -> None:
        self._known.pop(key, None)
        writes = [(_PREFIX + key.encode(), None if record is None else encode(record))]
        if record is not None:
            self._known[key] = record
        writes += ((_PREFIX + old.encode(), None) for old in self._surplus())
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._store.write, writes)

    def _surplus(self) -> Iterable[str]:
        """Forget what is too old or too much; the keys, so that the disk forgets them too."""
        ended = self._now_ms() - LIFE_MS
        old: list[str] = []
        for key, record in self._known.items():
            if record.created_ms > ended and len(self._known) - len(old) <= MOST_KEYS:
                break
            old.append(key)
        for key in old:
            del self._known[key]
        return old


def _fingerprint(request: Request, body: bytes) -> Digest:
    line = f"{request.method} {request.url.path}\n".encode()
    return digest(b"http-request", line + body)


def _once(body: bytes) -> Receive:
    """A body that was read already."""

    async def receive() -> Message:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
