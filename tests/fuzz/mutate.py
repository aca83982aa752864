"""Mutations of valid bytes.

Law: each depends on its arguments and the given generator alone, so that a number replays a case.

Half of the mutations change the bytes; the codec refuses most of those. The others change the decoded values and encode
them again, so the result is well-formed and only the checks behind the codec can refuse it. Byte strings that hold CBOR
are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import cbor2

MAX_BYTES = 1 << 16  # what a mutation may grow a message to
BORDERS = tuple(
    sign * (1 << bits) + step
    for bits in (0, 4, 5, 8, 16, 24, 31, 32, 63, 64) for step in (-1, 0, 1) for sign in (1, -1)
)
UNEXPECTED = (
    None, True, False, "", "x", "s" * 97, b"", b"\x00" * 31, b"\x00" * 33, b"\x00" * 64, [], {},
    [[]], {"a": 1}, 1.5, -0.0,
)
Bytes = Callable[[bytes, bytes, Random], bytes]


def flip(data: bytes, _: bytes, random: Random) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def set_byte(data: bytes, _: bytes, random: Random) -> bytes:
    out = bytearray(data)
    out[random.randrange(len(out))] = random.choice((
        0x00, 0x18, 0x1B, 0x40, 0x5F, 0x7F, 0x80, 0x9F, 0xA0, 0xF6, 0xFB, 0xFF, random.randrange(256),
    ))
    return bytes(out)


def truncate(data: bytes, _: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def insert(data: bytes, _: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 1, 2, 9, 40))) + data[at:]


def delete(data: bytes, _: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + data[at + random.choice((1, 1, 2, 9, 40)) :]


def repeat(data: bytes, _: bytes, random: Random) -> bytes:
    """Repeat a part: this duplicates fields and rows."""
    at = random.randrange(len(data))
    end = min(len(data), at + random.randrange(1, 80))
    return data[:end] + data[at:end] + data[end:]


def splice(data: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of one valid message and the end of another; half of the time at the same place."""
    at = random.randrange(len(data) + 1)
    return data[:at] + other[at if random.random() < 0.5 else random.randrange(len(other) + 1) :]


def border_head(data: bytes, _: bytes, random: Random) -> bytes:
    """Replace a CBOR head by one of the same kind with a border value: an integer, or a false length."""
    places = heads(data) or [(0, 1)]
    at, end = random.choice(places)
    major = (data[at] & 0xE0) if at < len(data) else 0
    value, least = max(random.choice(BORDERS), 0) % (1 << 64), random.choice((0, 0, 1, 2, 4, 8))
    return data[:at] + head(major, value, least) + data[end:]


def head(major: int, value: int, least: int = 0) -> bytes:
    """A CBOR head; `least` = 1, 2, 4, 8 argument bytes at least, which may not be the shortest form."""
    if value < 24 and not least:
        return bytes([major | value])
    size = next(size for size in (1, 2, 4, 8) if size >= least and value < 1 << 8 * size)
    return bytes([major | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + value.to_bytes(size, "big")


def heads(data: bytes) -> list[tuple[int, int]]:
    """Where the heads of a well-formed message begin and end."""
    found, at = [], 0
    while at < len(data):
        major, info = data[at] >> 5, data[at] & 31
        size = 0 if info < 24 else 1 << min(info - 24, 3)
        value = info if info < 24 else int.from_bytes(data[at + 1 : at + 1 + size], "big")
        found.append((at, at + 1 + size))
        at += 1 + size + (value if major in (2, 3) else 0)
    return found


def structured(data: bytes, other: bytes, random: Random) -> bytes:
    """One value changed, dropped, doubled, moved, swapped, or taken from another message; then encoded anew."""
    try:
        value, donor = cbor2.loads(data), cbor2.loads(other)
    except (cbor2.CBORError, ValueError):
        return flip(data, other, random)
    return cbor2.dumps(_change(value, donor, random), canonical=True)


def _change(value: Any, donor: Any, random: Random) -> Any:
    """A copy of `value` with one change. donor: the value at this place in another valid message, or any value."""
    if isinstance(value, list) and value:
        at = random.randrange(len(value))
        if random.random() < 0.65:
            theirs = donor[at] if isinstance(donor, list) and at < len(donor) else donor
            return [*value[:at], _change(value[at], theirs, random), *value[at + 1 :]]
        return _rearranged(value, at, random)
    if isinstance(value, bytes) and len(value) > 40 and random.random() < 0.8:
        inner = _entered(value, donor, random)
        if inner is not None:
            return inner
    return _other_leaf(value, donor, random)


def _rearranged(value: list[Any], at: int, random: Random) -> list[Any]:
    way = random.randrange(5)
    if way == 0:  # fields that have defaults stand at the end
        return value[:at] if random.random() < 0.3 else value[:-1]
    if way == 1:
        return [*value[:at], *value[at + 1 :]]
    if way == 2:
        return [*value[: at + 1], *value[at:]]
    if way == 3:
        to = random.randrange(len(value))
        out = list(value)
        out[at], out[to] = out[to], out[at]
        return out
    return [*value, random.choice(UNEXPECTED)]


def _entered(value: bytes, donor: Any, random: Random) -> bytes | None:
    """Change the CBOR inside a byte string (a header, an artifact); None where there is none."""
    if value[:1] < b"\x80" or value[:1] > b"\x9b":
        return None
    try:
        inner = cbor2.loads(value)
        theirs = cbor2.loads(donor) if isinstance(donor, bytes) and donor else None
        if not isinstance(inner, list) or cbor2.dumps(inner, canonical=True) != value:
            return None
        return cbor2.dumps(_change(inner, theirs, random), canonical=True)
    except (cbor2.CBORError, ValueError, TypeError):
        return None


def _other_leaf(value: Any, donor: Any, random: Random) -> Any:
    if random.random() < 0.1:
        return random.choice(UNEXPECTED)
    if random.random() < 0.2:
        return donor
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = value + random.choice((-1, 1, 2, 1000))
        return random.choice((near, near, *random.sample(BORDERS, 2)))
    if isinstance(value, (bytes, str)):
        return _other_text(value, random)
    return random.choice((*UNEXPECTED, *BORDERS))


def _other_text(value: bytes | str, random: Random) -> bytes | str:
    way = random.randrange(4)
    raw = value.encode() if isinstance(value, str) else value
    if way == 0 or not raw:
        raw = raw + random.randbytes(random.choice((1, 2, 29, 32)))
    elif way == 1:
        raw = raw[: random.randrange(len(raw))]
    elif way == 2 and len(raw) > 2:  # rows that change places
        at, size = random.randrange(len(raw)), random.choice((1, 2, 29, 32))
        raw = raw[:at] + raw[at + size : at + 2 * size] + raw[at : at + size] + raw[at + 2 * size :]
    else:
        raw = flip(raw, b"", random)
    return raw.decode("utf-8", "replace") if isinstance(value, str) else raw


BYTEWISE: tuple[Bytes, ...] = (flip, flip, set_byte, truncate, insert, delete, repeat, splice, border_head, border_head)


def mutate(parts: Sequence[bytes], other: Sequence[bytes], random: Random) -> tuple[bytes, ...]:
    """Change one part, sometimes several times. other: a second valid message with the same parts."""
    out = list(parts)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(out))
        if len(out) > 1 and random.random() < 0.03:
            out[at] = other[at]  # a whole part of another message
            continue
        how = structured if random.random() < 0.5 else random.choice(BYTEWISE)
        out[at] = how(out[at] or b"\x80", other[at], random)[:MAX_BYTES]
    return tuple(out)
