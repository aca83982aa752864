"""Variants of a message: each field at its minimum, its maximum, zero, minus one and one off.

Law: made from the declared types alone, with one change in each variant.

A structure does not check its fields when it is made here, so a variant may lie outside what its type allows; the
decoder has to refuse that one. Inside the bounds, only the checks behind the decoder can refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from p2p.base.codec import Message

Found = Iterator[tuple[str, Any]]
INT64, UINT64 = 2**63 - 1, 2**64 - 1
LONGEST = 1024  # a tuple without a declared length is tried this long
TEXT = ("", "\x00", "\x1b[2J", "\u202e", "x" * 97, "x" * 4096)


def variants(message: Message) -> Iterator[tuple[str, Message]]:
    """(`field.subfield=name`, a copy with that one field changed), the same every time."""
    info = msgspec.inspect.type_info(type(message))
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        value = getattr(message, field.name)
        for name, other in _of(field.type, value):
            yield f"{field.name}{name}", replace(message, **{field.name: other})


def _of(info: Any, value: Any) -> Found:
    """(name, other value) for a value of the declared type; a name that begins with a dot is a change inside it."""
    inspect = msgspec.inspect
    match info:
        case inspect.UnionType():
            yield from _union(info, value)
        case inspect.StructType():
            yield from ((f".{name}", changed) for name, changed in variants(value))
        case inspect.IntType():
            yield from _integers(info, value)
        case inspect.BytesType():
            yield from _bytes(info, value)
        case inspect.StrType():
            texts = (*TEXT, "x" * (info.max_length or 0))
            yield from ((f"={text[:8]!r}*{len(text)}", text) for text in texts if text != value)
        case inspect.BoolType():
            yield "=not", not value
        case inspect.EnumType():
            yield from _members(info, value)
        case inspect.VarTupleType():
            yield from _tuples(info, value)
        case inspect.TupleType():
            for at, (inner, item) in enumerate(zip(info.item_types, value, strict=True)):
                yield from (
                    (f"[{at}]{name}", (*value[:at], other, *value[at + 1 :])) for name, other in _of(inner, item)
                )


def _union(info: Any, value: Any) -> Found:
    if value is not None and any(isinstance(one, msgspec.inspect.NoneType) for one in info.types):
        yield "=none", None
    for one in info.types:
        kind = getattr(one, "cls", None)
        if (kind is not None and isinstance(value, kind)) or (kind is None and _plain(one, value)):
            yield from _of(one, value)
            return


def _plain(info: Any, value: Any) -> bool:
    inspect = msgspec.inspect
    kinds = {
        inspect.IntType: int, inspect.BytesType: bytes, inspect.StrType: str, inspect.VarTupleType: tuple,
        inspect.TupleType: tuple,
    }
    wanted = kinds.get(type(info))
    return wanted is not None and isinstance(value, wanted)


def _integers(info: Any, value: int) -> Found:
    low = info.ge if info.ge is not None else -(2**63) if info.gt is None else info.gt + 1
    high = info.le if info.le is not None else INT64 if info.lt is None else info.lt - 1
    names = {
        "min": low, "max": high, "zero": 0, "minus_one": -1, "one_more": value + 1, "one_less": value - 1,
        "below": low - 1, "above": high + 1,
        "int32": 2**31 - 1, "uint64": UINT64,
    }
    seen = {value}
    for name, other in names.items():
        if other not in seen and -(2**63) <= other <= UINT64:
            seen.add(other)
            yield f"={name}", other


def _bytes(info: Any, value: bytes) -> Found:
    most = info.max_length if info.max_length is not None else 1 << 16
    size = len(value)
    for name, other in {
        "empty": b"", "zeros": bytes(size), "ones": b"\xff" * size, "short": value[:-1], "long": value + b"\x00",
        "max": b"\x80" * most,
        "above": b"\x80" * (most + 1),
    }.items():
        if other != value:
            yield f"={name}", other


def _members(info: Any, value: Any) -> Found:
    for member in info.cls:
        if member != value:
            yield f"={member.name.lower()}", member
    if isinstance(value, int) and isinstance(value, Enum):
        yield "=beyond", max(int(member) for member in info.cls) + 1


def _tuples(info: Any, value: tuple[Any, ...]) -> Found:
    most = min(info.max_length if info.max_length is not None else LONGEST, LONGEST)
    if value:
        yield "=empty", ()
        yield "=repeated", value * 2
        yield "=longest", (value * most)[:most]
        yield "=above", (value * (most + 1))[: most + 1]
        if len(value) > 1:
            yield "=reversed", value[::-1]
            yield "=one_less", value[:-1]
        for name, other in _of(info.item_type, value[0]):
            yield f"[0]{name}", (other, *value[1:])
