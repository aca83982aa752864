"""Golden bytes: whoever changes a byte on the wire must run `python -m tests.golden.regenerate` on purpose."""

from __future__ import annotations

import json

import pytest

from p2p.base.codec import encode, unpack
from p2p.base.errors import RemoteProtocolError
from tests.golden.regenerate import FILE
from tests.golden.samples import kinds, sample

GOLDEN = json.loads(FILE.read_text())


def test_every_message_has_golden_bytes() -> None:
    assert set(GOLDEN) == set(kinds())


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_bytes_are_golden_and_read_back(name: str) -> None:
    kind = kinds()[name]
    assert encode(sample(kind)).hex() == GOLDEN[name]
    assert unpack(kind, bytes.fromhex(GOLDEN[name])) == sample(kind)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_cut_and_longer_bytes_are_refused(name: str) -> None:
    raw = bytes.fromhex(GOLDEN[name])
    for bad in (raw[:-1], raw + b"\x00", b""):
        with pytest.raises(RemoteProtocolError):
            unpack(kinds()[name], bad)
