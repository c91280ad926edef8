"""The readable twin of the codec: wire values as JSON with named fields, for people.

Hashes and keys are lower-case hex, amounts (`Coins`) decimal strings, all else plain JSON. A tagged
struct carries its tag as `"type"`. Reading is strict: every field must stand there once, none
besides, each spelled as it is written here.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from functools import cache
from typing import Annotated, TypeAlias, TypeVar, cast

import msgspec
from msgspec import inspect

from gossip.codec import DecodeError

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Positional: TypeAlias = "bool | int | float | str | bytes | list[Positional] | None"

_DECIMAL = {"json": "decimal"}

Coins = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, extra=_DECIMAL)]
"""An amount in the smallest unit. A decimal string in JSON, safe from readers that use floats."""

_TAG = "type"


def to_json(value: object) -> str:
    """The JSON text of a wire value, indented for reading."""
    return json.dumps(_written(value, _type_info(cast("Hashable", type(value)))), indent=2) + "\n"


def to_json_value(value: object) -> dict[str, Json]:
    """A wire struct, or a dataclass of wire values, as a JSON object; amounts are decimal strings."""
    written = _written(value, _type_info(cast("Hashable", type(value))))
    assert isinstance(written, dict)
    return written


@cache
def _type_info(kind: Hashable) -> inspect.Type:
    return inspect.type_info(cast("type", kind))


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read what `to_json` wrote. Raises `DecodeError` naming the field that is wrong."""
    try:
        parsed: Json = json.loads(text, object_pairs_hook=_object)
        positional = _read(parsed, _type_info(cast("Hashable", kind)), "")
    except RecursionError:
        raise DecodeError("not JSON: nested too deeply") from None
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from None
    try:
        value: T = msgspec.convert(positional, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise DecodeError(_named(str(error), positional, inspect.type_info(kind))) from None
    return value


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise DecodeError("not JSON of ours: a field stands twice in one object")
    return fields


def _named(message: str, value: Positional, kind: inspect.Type) -> str:
    """Turn msgspec's positions (`$[2][0]`) into names (`parameters.supply`)."""
    text, found, path = message.rpartition(" - at `$")
    if not found:
        return message
    steps = [int(step) for step in path.rstrip("`").strip("[]").split("][")]
    return f"{'.'.join(_names(steps, value, kind))}: {text}"


def _names(steps: list[int], value: Positional, kind: inspect.Type) -> Iterator[str]:
    for step in steps:
        assert isinstance(value, list)
        structs = list(_structs(kind))
        if structs:
            struct = next((one for one in structs if one.tag == value[0]), structs[0])
            field = struct.fields[step - (struct.tag is not None)]
            yield field.name
            kind = field.type
        else:
            yield str(step)
            kind = next(_items(kind), kind)
        value = value[step]


def _items(kind: inspect.Type) -> Iterator[inspect.Type]:
    """The type of a list's items."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.VarTupleType):
        yield kind.item_type


def _structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """The struct types that an annotation allows."""
    match kind:
        case inspect.StructType():
            yield kind
        case inspect.Metadata():
            yield from _structs(kind.type)
        case inspect.UnionType():
            for option in kind.types:
                yield from _structs(option)
        case _:
            return


def _is_decimal(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.Metadata) and kind.extra == _DECIMAL


def _present(kind: inspect.UnionType) -> inspect.Type:
    """What an optional value is when it is there."""
    return next(option for option in kind.types if not isinstance(option, inspect.NoneType))


def _written(value: object, kind: inspect.Type) -> Json:
    if value is None:
        return None
    match kind:
        case inspect.Metadata():
            return str(value) if _is_decimal(kind) else _written(value, kind.type)
        case inspect.UnionType():
            chosen = (option for option in _structs(kind) if option.cls is type(value))
            return _written(value, next(chosen, None) or _present(kind))
        case inspect.StructType():
            named = {
                field.encode_name: _written(getattr(value, field.name), field.type)
                for field in kind.fields
            }
            return named if kind.tag is None else {_TAG: kind.tag, **named}
        case inspect.DataclassType():
            return {
                field.name: _written(getattr(value, field.name), field.type)
                for field in kind.fields
            }
        case inspect.VarTupleType():
            assert isinstance(value, tuple)
            return [_written(item, kind.item_type) for item in value]
        case inspect.EnumType():
            plain: Json = kind.cls(value).value
            return plain
        case inspect.BytesType():
            assert isinstance(value, bytes)
            return value.hex()
        case _:
            assert isinstance(value, bool | int | str), f"no JSON form for {kind}"
            return value


def _read(value: Json, kind: inspect.Type, where: str) -> Positional:
    """Turn named fields into positions and hex into bytes; `msgspec.convert` checks the rest."""
    match kind:
        case inspect.Metadata():
            return (
                _read_amount(value, where) if _is_decimal(kind) else _read(value, kind.type, where)
            )
        case inspect.UnionType():
            if value is None:
                return None
            structs = list(_structs(kind))
            return _read(
                value, _tagged(value, structs, where) if structs else _present(kind), where
            )
        case inspect.StructType():
            return _read_struct(value, kind, where)
        case inspect.VarTupleType():
            if not isinstance(value, list):
                raise DecodeError(f"{where}: expected a list")
            return [_read(item, kind.item_type, f"{where}.{at}") for at, item in enumerate(value)]
        case inspect.BytesType():
            return _read_hex(value, where)
        case _:
            return _read_plain(value, where)


def _tagged(value: Json, options: list[inspect.StructType], where: str) -> inspect.StructType:
    if len(options) == 1:
        return options[0]
    tag = value.get(_TAG) if isinstance(value, dict) else None
    for option in options:
        if option.tag == tag:
            return option
    raise DecodeError(f"{where}.{_TAG}: unknown".removeprefix("."))


def _read_struct(value: Json, kind: inspect.StructType, where: str) -> Positional:
    if not isinstance(value, dict):
        raise DecodeError(f"{where or 'the file'}: expected an object")
    dot = f"{where}." if where else ""
    expected = [field.encode_name for field in kind.fields]
    if kind.tag is not None:
        expected.append(_TAG)
        if value.get(_TAG) != kind.tag:
            raise DecodeError(f"{dot}{_TAG}: expected {kind.tag!r}")
    for name in expected:
        if name not in value:
            raise DecodeError(f"{dot}{name}: missing")
    for name in value:
        if name not in expected:
            raise DecodeError(f"{dot}{name}: unknown field")
    fields = [
        _read(value[field.encode_name], field.type, dot + field.encode_name)
        for field in kind.fields
    ]
    return fields if kind.tag is None else [kind.tag, *fields]


def _read_hex(value: Json, where: str) -> bytes:
    if isinstance(value, str):
        try:
            read = bytes.fromhex(value)
        except ValueError:
            read = b"not hex"
        if read.hex() == value:
            return read
    raise DecodeError(f"{where}: expected lower-case hex")


def _read_amount(value: Json, where: str) -> int:
    longest = len(str(2**63))
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= longest:
        amount = int(value)
        if str(amount) == value:
            return amount
    raise DecodeError(f"{where}: expected an amount as a decimal string")


def _read_plain(value: Json, where: str) -> Positional:
    if isinstance(value, float | dict):
        raise DecodeError(f"{where}: expected a plain value")
    if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise DecodeError(f"{where}: not Unicode text")
    if isinstance(value, list):
        raise DecodeError(f"{where}: expected a plain value, found a list")
    return value
