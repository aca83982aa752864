"""The one encoding of everything that is sent, signed or stored: deterministic CBOR (RFC 8949, section 4.2.1).

Law: bytes are accepted only if encoding what they decode to gives the same bytes.

Allowed are null, booleans, integers of 64 bits, byte strings, text, arrays, and maps with text keys: no floats, no
tags. Typed messages are frozen msgspec structs that are encoded as arrays: a field is known by its position.
"""

from __future__ import annotations

import io
from typing import Any, ClassVar, TypeVar

import cbor2
import msgspec

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_DEPTH, MAX_FRAME, MAX_ITEMS

T = TypeVar("T")
_NOT_CBOR = (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError)  # what decoders raise


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=False):
    """Base of every wire message. Both limits hold before any of a message is decoded; a kind that needs more sets its
    own."""

    BYTES: ClassVar[int] = MAX_FRAME  # largest encoding
    ITEMS: ClassVar[int] = MAX_ITEMS  # most CBOR items


def encode(value: object) -> bytes:
    """The encoding of `value`, a Message or plain data."""
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    return cbor2.dumps(plain, canonical=True)


def decode(data: bytes, *, limit: int = MAX_FRAME, items: int = MAX_ITEMS) -> Any:
    """Plain data from canonical bytes. limit: most bytes; items: most CBOR items.

    Raises RemoteProtocolError with code 'cbor' or 'too_large'.
    """
    if len(data) > limit:
        raise _refused(f"{len(data)} bytes where at most {limit} are allowed", "too_large")
    check_heads(data, items)
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
        _check_plain(value)
        again = cbor2.dumps(value, canonical=True)
    except RemoteProtocolError:
        raise
    except _NOT_CBOR as error:
        raise _refused(f"not CBOR: {type(error).__name__}") from error
    if again != data:
        raise _refused("not the deterministic CBOR encoding of its content")
    return value


def unpack(kind: type[T], data: bytes, *, limit: int = 0, items: int = 0) -> T:
    """A message of type `kind` from canonical bytes. limit, items: instead of the kind's own BYTES and ITEMS.

    Raises RemoteProtocolError with code 'cbor', 'too_large' or 'shape'; for 'shape', `field` is the path of the wrong
    field.
    """
    limit = limit or getattr(kind, "BYTES", MAX_FRAME)
    items = items or getattr(kind, "ITEMS", MAX_ITEMS)
    if len(data) <= limit:
        check_heads(data, items)
        try:
            message = load(kind, data)
            if encode(message) == data:  # then the bytes are canonical, complete and plain
                return message
        except (RemoteProtocolError, *_NOT_CBOR):
            pass  # the slow way below finds out what is wrong
    return whole(convert(kind, decode(data, limit=limit, items=items)), data)


def whole(message: T, data: bytes) -> T:
    """Returns `message`, which was read from `data`, if no field was left out.

    Otherwise raises RemoteProtocolError('cbor'): msgspec fills in a missing field that has a default, so two byte
    strings would mean the same message.
    """
    if encode(message) != data:
        raise _refused("a field is missing: the bytes are not the encoding of the message")
    return message


def load(kind: type[T], data: bytes) -> T:
    """A message from bytes of our own store, which `encode` made: only its shape is checked, not its canonical form."""
    return convert(kind, cbor2.loads(data))


def convert(kind: type[T], value: object) -> T:
    """A message of type `kind` from plain data. Raises RemoteProtocolError('shape') that names the wrong field."""
    try:
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        text = str(error)
        path = text.rsplit("`", 2)[-2] if "`$" in text else ""
        name = getattr(kind, "__name__", kind)
        raise RemoteProtocolError(f"wrong shape for {name}: {text}", field=path, code="shape") from error


def _refused(message: str, code: str = "cbor") -> RemoteProtocolError:
    return RemoteProtocolError(message, field="frame", code=code)


def _check_plain(value: object) -> None:
    """Refuse types that are not allowed. Without recursion: check_heads bounded the depth and the number of items."""
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind is bytes or kind is str or kind is bool or item is None:
            continue
        if kind is int:
            if not -(2**63) <= item < 2**64:
                raise _refused("integer beyond 64 bits")
        elif kind is list:
            todo += item
        elif kind is dict:
            # Its keys are text (check_heads): for text, length-first order (RFC 7049) and bytewise order are the same.
            todo += item.values()
        else:
            raise _refused(f"values of type {kind.__name__} are not allowed")


def _item_bytes(head: int) -> int:
    """Bytes of an item that begins with `head` where the head alone tells, else 0 (also where more items follow)."""
    major, info = head >> 5, head & 31
    if major in (2, 3):
        return 1 + info if info < 24 else 0
    if major in (0, 1, 7) or head in (0x80, 0xA0):
        return 1 if info < 24 else 1 + (1 << (info - 24)) if info < 28 else 0
    return 0


_ITEM_BYTES = tuple(map(_item_bytes, range(256)))
_BYTES_8 = 0x58  # head of a byte string whose length is one byte: every hash, key and signature


def check_heads(data: bytes, items: int) -> None:
    """Bound nesting and the number of items, and refuse tags, before the decoder makes any object.

    Map keys must be text: Python hashes numbers without a secret, so an attacker could choose keys that collide and
    make a dict quadratic. The walk reads heads only, with a stack of open item counts. A container is refused by the
    number of items it announces, so the walk is never longer than `items` steps. Raises RemoteProtocolError('cbor' |
    'too_large').
    """
    open_above: list[tuple[int, bool]] = []
    at, left, size, in_map = 0, 1, len(data), False
    left_to_announce = items - 1
    while left and at < size:
        head = data[at]
        if in_map and not left & 1 and head >> 5 != 3:  # keys and values alternate: an even number is left before a key
            raise _refused("map keys must be text")
        size_of_item = _ITEM_BYTES[head]
        if size_of_item:
            at += size_of_item
        elif head == _BYTES_8 and at + 1 < size:
            at += 2 + data[at + 1]
        else:
            major, info = head >> 5, head & 31
            if info >= 28:
                raise _refused("an indefinite or reserved length")
            if major == 6:
                raise _refused("CBOR tags are not allowed")
            more = 0 if info < 24 else 1 << (info - 24)
            argument = info if info < 24 else int.from_bytes(data[at + 1 : at + 1 + more], "big")
            at += 1 + more
            if major in (2, 3):
                at += argument
            elif argument:
                open_above.append((left - 1, in_map))
                if len(open_above) > MAX_DEPTH:
                    raise _refused(f"nested deeper than {MAX_DEPTH} levels")
                if argument > size:
                    raise _refused("more items announced than bytes sent")
                in_map = major == 5
                left = argument * (2 if in_map else 1)
                left_to_announce -= left
                if left_to_announce < 0:
                    raise _refused(f"more than {items} items, the most for this kind of message", "too_large")
                continue
        left -= 1
        while not left and open_above:
            left, in_map = open_above.pop()
    if left or at != size:
        raise _refused("the bytes are cut off, or continue after the end")
