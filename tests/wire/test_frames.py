"""Frames: another version is named, garbage is a typed error, errors arrive as the same type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.base.types import VERSION
from p2p.wire.failures import failure, raise_failure
from p2p.wire.frames import Failure, PayloadWanted, SyncTop, pack_frame, parse_frame


@given(st.binary(max_size=400))
def test_garbage_is_a_typed_error(data: bytes) -> None:
    try:
        frame = parse_frame(data)
    except RemoteProtocolError as error:
        message = error.message
    else:
        message = "fine"
        assert pack_frame(frame) == data
    assert message


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1, 99, -1, str(VERSION), None])
def test_unknown_version_names_the_field(version: object) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_frame(encode(["payload_wanted", version, bytes(32)]))
    assert caught.value.field == "version"
    assert f"version {version} is not supported; this peer uses version {VERSION}" in caught.value.message


def test_frames_come_back_as_they_went() -> None:
    for frame in (PayloadWanted(VERSION, bytes(32)), SyncTop(1, 7), Failure("x", "y", "z")):
        assert parse_frame(pack_frame(frame)) == frame


@pytest.mark.parametrize("error", [
    InvalidRequest("no money", field="balance"), Overloaded("full", field="records"),
    Unavailable("gone", field="executor"),
    RemoteProtocolError("bad", field="frame"),
])
def test_an_error_is_the_same_on_the_other_side(error: FolkmootError) -> None:
    with pytest.raises(type(error)) as caught:
        raise_failure(failure(error))
    assert (caught.value.field, caught.value.message) == (error.field, error.message)


def test_when_to_try_again_arrives() -> None:
    with pytest.raises(Overloaded) as caught:
        raise_failure(failure(Overloaded("too much", field="max_tokens", retry_after=7)))
    assert caught.value.retry_after == 7


def test_trailing_bytes_and_other_encodings_are_refused() -> None:
    good = pack_frame(PayloadWanted(VERSION, bytes(32)))
    longer = good.replace(bytes([VERSION]), bytes([0x18, VERSION]), 1)  # a number in more bytes than it needs
    for bad in (good + b"\x00", longer, good[:-1], b"\x9f" + good[1:] + b"\xff"):
        with pytest.raises(RemoteProtocolError):
            parse_frame(bad)
