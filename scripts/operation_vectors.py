"""Print the test vectors of docs/API.md: one value of every operation, and its canonical bytes."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgpack
import msgspec
from msgspec import inspect

from consensus.operations.transactions import Operation
from gossip.codec import decode_canonical, encode


def sample(kind: inspect.Type, place: int) -> Any:  # noqa: ANN401 - whatever the type wants
    """A value of this kind, as msgpack has it; equal places give equal values."""
    match kind:
        case inspect.Metadata():
            return sample(kind.type, place)
        case inspect.BytesType():
            return bytes([0x11 * (1 + place % 8)]) * (kind.min_length or 4)
        case inspect.IntType():
            least = kind.ge or 0
            return least + place
        case inspect.StrType():
            return "embed"
        case inspect.BoolType():
            return True
        case inspect.EnumType():
            return list(kind.cls)[-1].value
        case inspect.UnionType():
            return sample(kind.types[0], place)
        case inspect.VarTupleType() | inspect.ListType():
            return [sample(kind.item_type, at) for at in range(max(1, kind.min_length or 0))]
        case inspect.TupleType():
            return [sample(one, at) for at, one in enumerate(kind.item_types)]
        case inspect.StructType():
            fields = [sample(one.type, at) for at, one in enumerate(kind.fields)]
            return fields if kind.tag is None else [kind.tag, *fields]
        case inspect.NoneType():
            return None
        case _:
            raise TypeError(f"no sample for {kind}")


def readable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Byte strings as hex after 0x."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return [readable(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    """One line for each operation."""
    lines = []
    for kind in get_args(Operation):
        value = sample(inspect.type_info(kind), 0)
        raw = encode(msgspec.convert(value, kind, builtin_types=(bytes,)))
        assert encode(decode_canonical(raw, kind)) == raw
        tag, *fields = readable(msgpack.unpackb(raw))
        lines.append(f'  "{tag}": {{"fields": {json.dumps(fields)}, "encoded": "{raw.hex()}"}}')
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
