"""The readable twin of the codec: wire values as JSON with named fields, for files that people open.

Hashes and keys are lower-case hex, amounts (integers annotated with `DECIMAL`) decimal strings, all else plain JSON. A
tagged struct carries its tag as `"type"`. Reading is strict: every field must stand there once, none besides, each
spelled the one way it is written.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import inspect

from gossip.codec import DecodeError

T = TypeVar("T")

DECIMAL = {"json": "decimal"}
"""`msgspec.Meta(extra=DECIMAL)` writes an integer as a decimal string, safe from readers that use floats."""

Coins = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, extra=DECIMAL)]
"""An amount of money, in the smallest unit."""

_TAG = "type"


def to_json(value: object) -> str:
    """The JSON text of a wire value, indented for reading."""
    return json.dumps(_written(value, _type_of(type(value)), is_decimal=False), indent=2)


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read what `to_json` wrote. Raises `DecodeError` naming the field that is wrong."""
    try:
        parsed = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None
    plain = _read(parsed, _type_of(kind), "", is_decimal=False)
    try:
        value: T = msgspec.convert(plain, kind, builtin_types=(bytes,))
    except (msgspec.ValidationError, ValueError) as error:
        raise DecodeError(_named(str(error), kind)) from None
    return value


def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields


def _named(message: str, kind: Any) -> str:
    """Turn msgspec's positions (`$[2][0]`) into names (`parameters.supply`)."""
    text, found, path = message.rpartition(" - at `$")
    if not found:
        return message
    names: list[str] = []
    at: inspect.Type = _type_of(kind)
    for step in path.rstrip("`").strip("[]").split("]["):
        at = _bare(at)
        if isinstance(at, inspect.StructType) and step.isdecimal():
            field = at.fields[int(step) - (at.tag is not None)]
            names.append(field.name)
            at = field.type
        elif isinstance(at, inspect.VarTupleType):
            names.append(step)
            at = at.item_type
    return f"{'.'.join(names)}: {text}"


def _bare(kind: inspect.Type) -> inspect.Type:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def _written(value: Any, kind: inspect.Type, *, is_decimal: bool) -> Any:
    match kind:
        case inspect.Metadata():
            return _written(value, kind.type, is_decimal=is_decimal or kind.extra == DECIMAL)
        case inspect.UnionType():
            return _written(value, _chosen(value, kind), is_decimal=is_decimal)
        case inspect.StructType():
            named = {
                field.encode_name: _written(
                    getattr(value, field.name), field.type, is_decimal=False
                )
                for field in kind.fields
            }
            return named if kind.tag is None else {_TAG: kind.tag, **named}
        case inspect.VarTupleType():
            return [_written(item, kind.item_type, is_decimal=is_decimal) for item in value]
        case inspect.BytesType():
            return value.hex()
        case inspect.EnumType():
            return value.value
        case inspect.IntType():
            return str(value) if is_decimal else value
        case _:
            return value


def _chosen(value: Any, kind: inspect.UnionType) -> inspect.Type:
    """The member of a union that a value belongs to."""
    if value is None:
        return inspect.NoneType()
    others = [_bare(option) for option in kind.types if not isinstance(option, inspect.NoneType)]
    if len(others) == 1:
        return others[0]
    return next(
        option
        for option in others
        if isinstance(option, inspect.StructType) and option.cls is type(value)
    )


def _read(value: Any, kind: inspect.Type, where: str, *, is_decimal: bool) -> Any:
    match kind:
        case inspect.Metadata():
            return _read(value, kind.type, where, is_decimal=is_decimal or kind.extra == DECIMAL)
        case inspect.UnionType():
            return (
                None
                if value is None
                else _read(value, _tagged(value, kind, where), where, is_decimal=is_decimal)
            )
        case inspect.StructType():
            return _read_struct(value, kind, where)
        case inspect.VarTupleType():
            if not isinstance(value, list):
                raise DecodeError(f"{where}: expected a list")
            return [
                _read(item, kind.item_type, f"{where}.{at}", is_decimal=is_decimal)
                for at, item in enumerate(value)
            ]
        case inspect.BytesType():
            return _read_hex(value, where)
        case inspect.IntType():
            return _read_integer(value, where, is_decimal=is_decimal)
        case _:
            return value


def _tagged(value: Any, kind: inspect.UnionType, where: str) -> inspect.Type:
    others = [_bare(option) for option in kind.types if not isinstance(option, inspect.NoneType)]
    if len(others) == 1:
        return others[0]
    tag = value.get(_TAG) if isinstance(value, dict) else None
    for option in others:
        if isinstance(option, inspect.StructType) and option.tag == tag:
            return option
    raise DecodeError(f"{where}: unknown {_TAG}")


def _read_struct(value: Any, kind: inspect.StructType, where: str) -> list[Any]:
    if not isinstance(value, dict):
        raise DecodeError(f"{where or 'the file'}: expected an object")
    dot = f"{where}." if where else ""
    expected = [field.encode_name for field in kind.fields] + ([] if kind.tag is None else [_TAG])
    for name in expected:
        if name not in value:
            raise DecodeError(f"{dot}{name}: missing")
    for name in value:
        if name not in expected:
            raise DecodeError(f"{dot}{name}: unknown field")
    fields = [
        _read(value[field.encode_name], field.type, f"{dot}{field.encode_name}", is_decimal=False)
        for field in kind.fields
    ]
    if kind.tag is None:
        return fields
    if value[_TAG] != kind.tag:
        raise DecodeError(f"{dot}{_TAG}: expected {kind.tag!r}")
    return [kind.tag, *fields]


def _read_hex(value: Any, where: str) -> bytes:
    if isinstance(value, str):
        try:
            read = bytes.fromhex(value)
        except ValueError:
            read = b""
        if read.hex() == value:
            return read
    raise DecodeError(f"{where}: expected lower-case hex")


def _read_integer(value: Any, where: str, *, is_decimal: bool) -> int:
    if not is_decimal:
        if type(value) is int:
            return value
        raise DecodeError(f"{where}: expected an integer")
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdecimal()
        and len(value) <= len(str(2**64))
    ):
        number = int(value)
        if str(number) == value:
            return number
    raise DecodeError(f"{where}: expected an amount as a decimal string")
