"""Deterministic CBOR (RFC 8949 section 4.2.1). Law: bytes are accepted only if re-encoding gives the same bytes.

Only null, booleans, integers of 64 bits, byte strings, text, arrays and maps with text keys exist on this wire: no floats,
no tags.
Typed messages are frozen, array-like msgspec structs: positional, so a field has a place, not a name.
"""

from __future__ import annotations

import io
from typing import Any, ClassVar, TypeVar

import cbor2
import msgspec

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_DEPTH, MAX_FRAME, MAX_ITEMS

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=False):
    """Base of every wire message: frozen and positional. BYTES, ITEMS: how large one may be, and of how many CBOR items, before it is
    decoded; a kind that needs more than the default says so itself."""

    BYTES: ClassVar[int] = MAX_FRAME
    ITEMS: ClassVar[int] = MAX_ITEMS


def encode(value: object) -> bytes:
    """The one encoding of `value` (a Message or plain data)."""
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    return cbor2.dumps(plain, canonical=True)


def decode(data: bytes, *, limit: int = MAX_FRAME, items: int = MAX_ITEMS) -> Any:
    """Plain data from canonical bytes, of at most `items` CBOR items. Raises RemoteProtocolError(code='cbor' | 'too_large')."""
    if len(data) > limit:
        raise RemoteProtocolError(f"{len(data)} bytes where at most {limit} are allowed", field="frame", code="too_large")
    check_heads(data, items)
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
        _check_plain(value)
        again = cbor2.dumps(value, canonical=True)
    except RemoteProtocolError:
        raise
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise RemoteProtocolError(f"not CBOR: {type(error).__name__}", field="frame", code="cbor") from error
    if again != data:
        raise RemoteProtocolError("not the deterministic encoding of its content", field="frame", code="cbor")
    return value


def unpack(kind: type[T], data: bytes, *, limit: int = 0, items: int = 0) -> T:
    """A typed message from canonical bytes. The error's `field` is the path of the wrong field. limit, items: instead of the kind's own."""
    limit = limit or getattr(kind, "BYTES", MAX_FRAME)
    items = items or getattr(kind, "ITEMS", MAX_ITEMS)
    if len(data) <= limit:
        check_heads(data, items)
        try:
            message = load(kind, data)
            if encode(message) == data:  # then they are canonical, whole and plain
                return message
        except (RemoteProtocolError, cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError):
            pass  # said below, by the step that refuses them
    return whole(convert(kind, decode(data, limit=limit, items=items)), data)


def whole(message: T, data: bytes) -> T:
    """`message`, read from `data`, when no field was left out: one that has a default may be missing in a positional message,
    and two byte strings would mean the same."""
    if encode(message) != data:
        raise RemoteProtocolError("a field is missing: the bytes are not the encoding of the message", field="frame", code="cbor")
    return message


def load(kind: type[T], data: bytes) -> T:
    """A typed message from bytes that `encode` made here and our own store kept: shape is checked, canonical form is not again."""
    return convert(kind, cbor2.loads(data))


def convert(kind: type[T], value: object) -> T:
    """Plain data to the typed message `kind`, strictly."""
    try:
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        text = str(error)
        path = text.rsplit("`", 2)[-2] if "`$" in text else ""
        raise RemoteProtocolError(f"wrong shape for {getattr(kind, '__name__', kind)}: {text}", field=path, code="shape") from error


def _check_plain(value: object) -> None:
    """Walk without recursion: depth was bounded before, breadth is bounded by the size."""
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind is bytes or kind is str or kind is bool or item is None:
            continue
        if kind is int:
            if not -(2**63) <= item < 2**64:
                raise RemoteProtocolError("integer beyond 64 bits", field="frame", code="cbor")
        elif kind is list:
            todo += item
        elif kind is dict:
            todo += item.values()  # its keys are text (check_heads), for which length-first and bytewise order are the same
        else:
            raise RemoteProtocolError(f"{kind.__name__} does not exist on this wire", field="frame", code="cbor")


def _step(head: int) -> int:
    """Bytes of an item that begins with `head`, where the head alone tells; 0 where it does not, or more items follow."""
    major, info = head >> 5, head & 31
    if major in (2, 3):
        return 1 + info if info < 24 else 0
    if major in (0, 1, 7) or head in (0x80, 0xA0):
        return 1 if info < 24 else 1 + (1 << (info - 24)) if info < 28 else 0
    return 0


_STEPS = tuple(map(_step, range(256)))
_BYTES_8 = 0x58  # a byte string whose length is one byte: every hash, key and signature


def check_heads(data: bytes, items: int) -> None:
    """Bound nesting and the number of items before the decoder makes an object of any, and refuse tags before it obeys them. Map keys must be
    text: hashes of numbers and of arrays of them have no secret, so anybody could choose keys that collide, and a dict of those is quadratic.

    Walks heads only, with a stack of open item counts. A container is refused by the number it announces, so the walk itself is never
    longer than `items` steps.
    """
    open_above: list[tuple[int, bool]] = []
    at, left, size, in_map = 0, 1, len(data), False
    left_to_announce = items - 1
    while left and at < size:
        head = data[at]
        if in_map and not left & 1 and head >> 5 != 3:  # keys and values take turns, and an even number is left before a key
            raise RemoteProtocolError("a map's keys are text on this wire", field="frame", code="cbor")
        step = _STEPS[head]
        if step:
            at += step
        elif head == _BYTES_8 and at + 1 < size:
            at += 2 + data[at + 1]
        else:
            major, info = head >> 5, head & 31
            if info >= 28:
                raise RemoteProtocolError("indefinite or reserved length", field="frame", code="cbor")
            if major == 6:
                raise RemoteProtocolError("a tag does not exist on this wire", field="frame", code="cbor")
            more = 0 if info < 24 else 1 << (info - 24)
            argument = info if info < 24 else int.from_bytes(data[at + 1 : at + 1 + more], "big")
            at += 1 + more
            if major in (2, 3):
                at += argument
            elif argument:
                open_above.append((left - 1, in_map))
                if len(open_above) > MAX_DEPTH:
                    raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", field="frame", code="cbor")
                if argument > size:
                    raise RemoteProtocolError("more items announced than bytes sent", field="frame", code="cbor")
                in_map = major == 5
                left = argument * (2 if in_map else 1)
                left_to_announce -= left
                if left_to_announce < 0:
                    raise RemoteProtocolError(f"more than {items} items, which no message of this kind has", field="frame", code="too_large")
                continue
        left -= 1
        while not left and open_above:
            left, in_map = open_above.pop()
    if left or at != size:
        raise RemoteProtocolError("truncated, or bytes after the end", field="frame", code="cbor")
