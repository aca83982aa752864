"""Limits by protocol and by kind of message, applied before anything is decoded."""

from __future__ import annotations

import contextlib
from typing import Any, get_args

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base import codec
from p2p.base.codec import check_heads, decode, encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_FRAME, MAX_ITEMS, MAX_PROPOSAL, MIB
from p2p.wire.frames import (
    Body,
    Failure,
    Frame,
    Payload,
    Query,
    SyncTop,
    SyncWanted,
    Tokens,
    frame_limit,
    pack_frame,
    parse_frame,
)


class Counted(bytes):
    """Bytes that count how often they are read: the work of the walk."""

    looks = 0

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        self.looks += 1
        return super().__getitem__(at)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5), inner, max_size=6), max_leaves=80,
)


def items_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + items_of(item) for item in value.values())
    return 1 + sum(map(items_of, value)) if isinstance(value, list) else 1


@given(NESTED)
def test_exactly_so_many_items_pass_and_one_less_does_not(value: object) -> None:
    data, count = encode(value), items_of(value)
    assert decode(data, items=count) == value
    if count > 1:
        with pytest.raises(RemoteProtocolError) as caught:
            decode(data, items=count - 1)
        assert caught.value.code == "too_large"


@given(st.binary(max_size=3000), st.integers(1, 200))
def test_the_walk_is_never_longer_than_the_items_allowed(data: bytes, items: int) -> None:
    counted = Counted(data)
    with contextlib.suppress(RemoteProtocolError):
        check_heads(counted, items)
    assert counted.looks <= 3 * items


def test_a_frame_of_four_mebibytes_of_empty_maps_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: 6 s of CPU and 320 MiB until its type was known."""
    monkeypatch.setattr(cbor2, "CBORDecoder", lambda stream: pytest.fail("decoded"))
    bomb = b"\x9a" + (MAX_FRAME - 5).to_bytes(4, "big") + b"\xa0" * (MAX_FRAME - 5)
    for data in (bomb, b"\x82\x65query" + bomb[:-7], b"\x82\x67payload" + bomb[:-9]):
        with pytest.raises(RemoteProtocolError):
            parse_frame(data)
        counted = Counted(data)
        with pytest.raises(RemoteProtocolError):
            check_heads(counted, MAX_ITEMS)
        assert counted.looks < 20


def test_every_kind_says_how_large_it_may_be() -> None:
    for kind in get_args(Frame):
        assert "BYTES" in vars(kind), f"{kind.__name__} has no limit of its own"
        assert kind.BYTES <= MAX_FRAME
    assert frame_limit(SyncWanted, Query) == Query.BYTES < 8192
    assert frame_limit(Body, Failure) == MAX_PROPOSAL


def test_a_kind_is_refused_by_size_and_by_place_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = pack_frame(Payload(b"x", bytes(MIB)))
    assert parse_frame(large, Payload, Failure) == Payload(b"x", bytes(MIB))
    monkeypatch.setattr(codec.cbor2, "CBORDecoder", lambda stream: pytest.fail("decoded"))
    with pytest.raises(RemoteProtocolError, match="a Payload frame came where Query or SyncWanted is expected"):
        parse_frame(large, Query, SyncWanted)
    with pytest.raises(RemoteProtocolError) as caught:
        parse_frame(encode(["sync_top", bytes(5000), 1, 2]), SyncTop)
    assert caught.value.code == "too_large"


def test_a_frame_of_no_tokens_would_never_end() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_frame(encode(["tokens", 0, [], "x", bytes(64)]))
    assert parse_frame(pack_frame(Tokens(0, (1,), "x", bytes(64)))) == Tokens(0, (1,), "x", bytes(64))


PAIRS = st.tuples(st.integers(0, 9), st.integers(0, 9))
KEYS = st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=30) | st.none() | st.booleans() | PAIRS


@given(NESTED, NESTED, KEYS, st.lists(st.sampled_from(["list", "map"]), max_size=6))
def test_a_map_with_another_key_than_text_is_refused_before_anything_is_made_of_it(
    before: Any, value: Any, key: Any, around: list[str],
) -> None:
    """Keys that collide were chosen by algebra: 28 kB of them cost seventeen times the processor of as many other
    items."""
    assert decode(encode(before)) == before
    bad: Any = {"a": before, key: value} if not isinstance(key, bool | None) else {key: value}
    for kind in around:
        bad = [before, bad] if kind == "list" else {"x": before, "y": bad}
    raw = cbor2.dumps(bad)
    with pytest.raises(RemoteProtocolError, match="map keys must be text"):
        check_heads(raw, 10_000)
