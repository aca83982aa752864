"""Outbox: one batch in flight, nothing lost, nonces grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.codec import encode, unpack
from p2p.errors import Overloaded
from p2p.keys import Domain, Key, verify
from p2p.limits import MAX_TX
from p2p.outbox import MAX_WAITING, Outbox
from p2p.types import OutputRecord, RecordKind, SignedBatch

KEY = Key(bytes(32))


def record(number: int) -> OutputRecord:
    return OutputRecord(number.to_bytes(32, "big"), KEY.public, bytes(32), number)


def test_nothing_waits_nothing_leaves() -> None:
    assert Outbox(KEY, "n").next_batch(0) is None


def test_batch_is_signed_for_its_network() -> None:
    box = Outbox(KEY, "n")
    box.put(RecordKind.OUTPUT, record(1))
    signed = unpack(SignedBatch, box.next_batch(7) or b"")
    assert signed.batch.nonce == 8
    assert verify(KEY.public, Domain.TX, "n", encode(signed.batch), signed.signature)
    assert not verify(KEY.public, Domain.TX, "m", encode(signed.batch), signed.signature)


@given(st.lists(st.booleans(), max_size=60))
def test_each_record_leaves_once_and_in_order(settles: list[bool]) -> None:
    """True = the chain took the batch; False = it is still in flight, so nothing new may leave."""
    box, sent, nonce = Outbox(KEY, "n"), [], 0
    for number, settled in enumerate(settles):
        box.put(RecordKind.OUTPUT, record(number))
        raw = box.next_batch(nonce)
        if raw is not None:
            batch = unpack(SignedBatch, raw).batch
            assert batch.nonce == nonce + 1
            sent += [unpack(OutputRecord, r.body).output_tokens for r in batch.records]
        assert box.in_flight is not None
        assert box.next_batch(nonce) is None
        if settled:
            nonce += 1
            box.settle(nonce)
    box.settle(nonce + 1)
    raw = box.next_batch(nonce + 1)
    if raw is not None:
        sent += [unpack(OutputRecord, r.body).output_tokens for r in unpack(SignedBatch, raw).batch.records]
    assert sent == list(range(len(settles)))


def test_batches_stay_under_the_size_limit_and_the_queue_under_its_own() -> None:
    box = Outbox(KEY, "n")
    for number in range(MAX_WAITING):
        box.put(RecordKind.OUTPUT, record(number))
    with pytest.raises(Overloaded, match="records"):
        box.put(RecordKind.OUTPUT, record(0))
    raw = box.next_batch(0)
    assert raw is not None
    assert len(raw) <= MAX_TX
