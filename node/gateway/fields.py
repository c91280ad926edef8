"""Requests taken apart: bounded bodies, JSON objects field by field, ids in paths, numbers in queries.

Whatever is wrong is told as a `Problem` that names the field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
import trio
from starlette.requests import Request

from gossip.codec import Digest
from node.gateway.http.exchange import Exchange
from node.views.facade import Facade, Named, Problem
from node.views.records import JsonObject

MAX_BODY_BYTES = 256 * 1024
"""Enough for the largest transaction in hex."""
MAX_TASK_BODY_BYTES = 32 * 1024 * 1024
BODY_S = 20
"""How long a body may take to come."""
MIN_PREFIX = 4
"""So many digits of an id are the least that is looked up."""

_PATIENCE_BYTES = 8 * 1024 * 1024
_ID_DIGITS = 64
_MAX_NATURAL = 2**63 - 1
_ID = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},{_ID_DIGITS}}}")
WHOLE_ID = re.compile(rf"[0-9a-f]{{{_ID_DIGITS}}}")
_NEGATIVE = re.compile(r"-[0-9]+(?:\.[0-9]*)?")
_DECIMAL = re.compile(r"[1-9][0-9]{0,18}")

_ALIKE = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"})
_HEAPED = "M{3}"

_Value = TypeVar("_Value")


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises `Problem` if it is too large.

    A little more than the limit is read and thrown away: a client that is still sending when the
    connection ends would see a reset instead of the answer.
    """
    exchange = request.scope.get("extensions", {}).get("bizra.exchange")
    whole = exchange.take_whole() if isinstance(exchange, Exchange) else None
    if whole is not None:
        return _bounded(whole, len(whole), limit_bytes)
    parts: list[bytes] = []
    size_bytes = 0
    with trio.move_on_after(BODY_S) as patience:
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes <= limit_bytes:
                parts.append(part)
            elif size_bytes > limit_bytes + _PATIENCE_BYTES:
                break
    if patience.cancelled_caught:
        raise Problem(408, "body_timeout", f"the body was not here within {BODY_S} s")
    return _bounded(b"".join(parts), size_bytes, limit_bytes)


def read_headers(request: Request) -> dict[str, str]:
    """By their names in small letters, the first of each. `request.headers` goes through all for each look into it."""
    raw: Sequence[tuple[bytes, bytes]] = request.scope["headers"]
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}


def _bounded(body: bytes, size_bytes: int, limit_bytes: int) -> bytes:
    if size_bytes > limit_bytes:
        raise Problem(413, "body_too_large", f"a body here has at most {limit_bytes:,} bytes")
    return body


class Fields:
    """The fields of a JSON object; each may be taken once, and none may be left."""

    def __init__(self, body: bytes | JsonObject, facade: Facade) -> None:
        """`body` is JSON, or an object inside it."""
        self._left: JsonObject = dict(body) if isinstance(body, dict) else _object(body)
        self._facade = facade

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._left.get(name) is not None

    def text(self, name: str) -> str:
        """A string."""
        return self._take(name, str, "a string")

    def flag(self, name: str) -> bool:
        """True or false; false if it isn't there."""
        return self._take(name, bool, "true or false") if self.has(name) else False

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A list of so many strings at most."""
        value = self._take(name, list, "a list of strings")
        if len(value) > most or not all(isinstance(one, str) for one in value):
            raise Problem(400, "wrong_type", f"{name}: must be a list of at most {most} strings")
        return tuple(value)

    def object(self, name: str) -> JsonObject:
        """An object inside."""
        return self._take(name, dict, "an object")

    def objects(self, name: str, most: int) -> tuple[Fields, ...]:
        """A list of 1 to so many objects, each to be taken apart in the same way."""
        value = self._take(name, list, "a list of objects")
        if not all(isinstance(one, dict) for one in value):
            raise Problem(400, "wrong_type", f"{name}: must be a list of objects")
        if not 1 <= len(value) <= most:
            raise Problem(400, "out_of_range", f"{name}: must have 1 to {most} objects")
        return tuple(Fields(one, self._facade) for one in value)

    def natural(self, name: str, default: int | None = None) -> int:
        """A number from 0 to 2^63 - 1."""
        if default is not None and not self.has(name):
            self._left.pop(name, None)
            return default
        value = self._take(name, int, "a whole number")
        if not 0 <= value <= _MAX_NATURAL:
            raise Problem(400, "out_of_range", f"{name}: must be from 0 to {_MAX_NATURAL}")
        return value

    def name(self, name: str, most: int) -> str:
        """A name for people, without what looks like another one."""
        value = self.text(name)
        fault = name_fault(value, most)
        if fault is not None:
            raise Problem(400, "bad_name", f"{name}: {fault}")
        return value

    def amount(self, name: str) -> int:
        """An amount: a decimal string, at least 1."""
        value = self._take(name, str, 'a decimal string such as "100"')
        if _NEGATIVE.fullmatch(value):
            raise Problem(400, "negative_amount", f"{name}: an amount is at least 1")
        if not _DECIMAL.fullmatch(value) or int(value) > _MAX_NATURAL:
            raise Problem(
                400,
                "bad_amount",
                f'{name}: must be a decimal string from "1" to "{_MAX_NATURAL}"',
            )
        return int(value)

    def raw(self, name: str) -> bytes:
        """Bytes in lower-case hex."""
        value = self._take(name, str, "lower-case hex")
        try:
            raw = bytes.fromhex(value)
        except ValueError:
            raw = b""
        if raw.hex() != value:
            raise Problem(
                400, "bad_hex", f"{name}: must be lower-case hex, two digits for each byte"
            )
        return raw

    def sized(self, name: str, size_bytes: int) -> bytes:
        """So many bytes in lower-case hex."""
        value = self.raw(name)
        if len(value) != size_bytes:
            raise Problem(400, "bad_hex", f"{name}: must have {2 * size_bytes} hex digits")
        return value

    def id(self, name: str, *among: Named) -> bytes:
        """An id, or the beginning of one of those that are known."""
        text = self.text(name)
        try:
            return resolve(self._facade, text, *among)
        except Problem as problem:
            raise Problem(problem.status, problem.code, f"{name}: {problem.detail}") from None

    def drop(self, *names: str) -> None:
        """Fields that are null count as left out."""
        for name in names:
            if not self.has(name):
                self._left.pop(name, None)

    def done(self) -> None:
        """Raises `Problem` if there are fields that nobody took."""
        for name in self._left:
            raise Problem(400, "unknown_field", f"there is no field {name[:64]!r} in this request")

    def _take(self, name: str, kind: type[_Value], expected: str) -> _Value:
        if name not in self._left:
            raise Problem(400, "missing_field", f"{name}: missing; expected {expected}")
        value = self._left.pop(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Problem(400, "wrong_type", f"{name}: must be {expected}")
        return value


def _object(body: bytes) -> JsonObject:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, "bad_json", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, "bad_json", "the body must be a JSON object")
    return value


def name_fault(text: str, most: int) -> str | None:
    """Why a text can't be a name that people tell from others, or None."""
    if not 1 <= len(text) <= most:
        return f"must have 1 to {most} characters"
    if unicodedata.normalize("NFKC", text) != text:
        return "must be in Unicode's normal form NFKC: it has characters that look like others"
    if not text.isprintable() or text != text.strip():
        return "must be printable, without blanks at the ends"
    if any(unicodedata.category(sign).startswith("C") for sign in text):
        return "must not have control or formatting characters"
    if re.search(_HEAPED, "".join(unicodedata.category(sign)[0] for sign in text)):
        return "must not heap marks on one letter"
    alphabets = {unicodedata.name(sign, "?").split()[0] for sign in text if sign.isalpha()}
    if len(alphabets & _ALIKE) > 1:
        return f"must not mix alphabets whose letters look alike ({', '.join(sorted(alphabets))})"
    return None


def resolve(facade: Facade, text: str, *among: Named) -> bytes:
    """An id from its hex digits, or from the first few if one known id alone begins with them."""
    kind = among[0].value
    digits = _digits(text, kind)
    if len(digits) == _ID_DIGITS:
        return bytes.fromhex(digits)
    return pick(text, kind, (name for what in among for name in facade.find(what, digits)))


def pick(text: str, kind: str, known: Iterable[str]) -> bytes:
    """The one of these ids that has or begins with these digits."""
    digits = _digits(text, kind)
    found = sorted({name for name in known if name.startswith(digits)})
    if not found:
        raise Problem(404, f"unknown_{kind}", f"no known {kind} id begins with {digits}")
    if len(found) > 1:
        shown = ", ".join(name[: len(digits) + 4] for name in found[:5])
        raise Problem(
            400, "ambiguous_id", f"several ids begin with {digits} ({shown}..): give more digits"
        )
    return bytes.fromhex(found[0])


def _digits(text: str, kind: str) -> str:
    digits = text.lower()
    if not _ID.fullmatch(digits):
        raise Problem(
            400,
            "bad_id",
            f"{text[:80]!r} is no {kind} id: expected {_ID_DIGITS} hex digits, "
            f"or at least the first {MIN_PREFIX}",
        )
    return digits


def path_id(request: Request, facade: Facade, what: Named) -> Digest:
    """The id in the path of a request."""
    return Digest(resolve(facade, request.path_params["id"], what))


def query_number(request: Request, name: str, default: int, most: int) -> int:
    """A number from 1 to `most` in the query."""
    text = request.query_params.get(name)
    if text is None:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(most)) else 0
    if not 1 <= value <= most:
        raise Problem(400, "bad_parameter", f"{name}: must be a number from 1 to {most}")
    return value
