"""Outbox: nothing lost, nonces without a gap, one batch in flight at most is not full, again what no block took."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.codec import encode, unpack
from p2p.base.errors import Overloaded
from p2p.base.keys import Domain, Key, verify
from p2p.base.limits import (
    MAX_BATCHES_IN_FLIGHT,
    MAX_RECORDS_PER_TX,
    MAX_TX,
    MAX_WAITING,
    MAX_WORK_RECORDS,
    OUTBOX_TTL_HEIGHTS,
    TX_TTL_HEIGHTS,
)
from p2p.base.types import OutputRecord, RecordKind, SignedBatch
from p2p.peer.outbox import AGAIN_HEIGHTS, Outbox

KEY = Key(bytes(32))


def record(number: int) -> OutputRecord:
    return OutputRecord(number.to_bytes(32, "big"), KEY.public, bytes(32), number)


def numbers(raw: bytes) -> list[int]:
    return [unpack(OutputRecord, r.body).output_tokens for r in unpack(SignedBatch, raw).batch.records]


def test_nothing_waits_nothing_leaves() -> None:
    assert Outbox(KEY, "n").due(0, 0) == []


def test_batch_is_signed_for_its_network() -> None:
    box = Outbox(KEY, "n")
    box.put(RecordKind.OUTPUT, record(1))
    (raw,) = box.due(7, 0)
    signed = unpack(SignedBatch, raw)
    assert signed.batch.nonce == 8
    assert verify(KEY.public, Domain.TX, "n", encode(signed.batch), signed.signature)
    assert not verify(KEY.public, Domain.TX, "m", encode(signed.batch), signed.signature)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=20))
def test_each_record_leaves_once_and_in_order_whatever_the_chain_takes(steps: list[tuple[int, int]]) -> None:
    """Each step: so many records are put, then the chain takes so many of the batches it has not taken."""
    box, nonce, put = Outbox(KEY, "n"), 0, 0
    sent: dict[int, bytes] = {}
    for height, (more, taken) in enumerate(steps):
        for _ in range(min(more, MAX_WAITING - len(box))):
            box.put(RecordKind.OUTPUT, record(put))
            put += 1
        for raw in box.due(nonce, height):
            at = unpack(SignedBatch, raw).batch.nonce
            assert sent.setdefault(at, raw) == raw, "the same bytes again, or the next nonce"
            assert len(raw) <= MAX_TX
        assert sorted(sent) == list(range(1, len(sent) + 1)), "a gap would lose what comes after it"
        flying = [len(numbers(raw)) for at, raw in sent.items() if at > nonce]
        assert sum(
            count < MAX_RECORDS_PER_TX for count in flying
        ) <= 1, "little by little is dear: gossip costs by the message"
        assert box.in_flight == len(sent) - nonce <= MAX_BATCHES_IN_FLIGHT
        nonce = min(nonce + taken, len(sent))
    while len(box) or nonce < len(sent):
        nonce = len(sent)
        sent |= {unpack(SignedBatch, raw).batch.nonce: raw for raw in box.due(nonce, 10**6)}
    assert [number for _, raw in sorted(sent.items()) for number in numbers(raw)] == list(range(put))


def test_what_no_block_took_is_said_again_after_a_while() -> None:
    box = Outbox(KEY, "n")
    box.put(RecordKind.OUTPUT, record(1))
    (raw,) = box.due(0, 5)
    assert [box.due(0, height) for height in range(5, 5 + AGAIN_HEIGHTS)] == [[]] * AGAIN_HEIGHTS
    assert box.due(0, 5 + AGAIN_HEIGHTS) == [raw]
    assert box.due(0, 6 + AGAIN_HEIGHTS) == []
    assert box.due(1, 20) == []
    assert box.in_flight == 0


def test_batches_stay_under_the_size_limit_and_the_queue_under_its_own() -> None:
    box = Outbox(KEY, "n")
    for number in range(MAX_WAITING):
        box.put(RecordKind.OUTPUT, record(number))
    with pytest.raises(Overloaded, match="records"):
        box.put(RecordKind.OUTPUT, record(0))
    batches = box.due(0, 0)
    assert 1 < len(batches) <= MAX_BATCHES_IN_FLIGHT
    assert max(map(len, batches)) <= MAX_TX


def test_a_peer_that_may_not_send_says_nothing_and_keeps_it_for_a_while() -> None:
    """It is about to be registered: then what waits leaves. If it never is, nothing is kept for ever."""
    box = Outbox(KEY, "n")
    box.put(RecordKind.OUTPUT, record(1))
    assert box.due(0, 5, may_send=False) == []
    assert not box.ready, "nobody turns round and round for it"
    assert box.due(0, 4 + OUTBOX_TTL_HEIGHTS, may_send=False) == []
    (raw,) = box.due(0, 4 + OUTBOX_TTL_HEIGHTS)
    assert numbers(raw) == [1]
    box.put(RecordKind.OUTPUT, record(2))
    for height in (0, OUTBOX_TTL_HEIGHTS):
        assert box.due(0, 1000 + height, may_send=False) == []
    assert (len(box), box.in_flight) == (0, 0)


def test_what_comes_after_something_was_given_up_is_kept_as_long() -> None:
    box = Outbox(KEY, "n")
    box.put(RecordKind.OUTPUT, record(1))
    for height in range(2 * OUTBOX_TTL_HEIGHTS):
        if height == OUTBOX_TTL_HEIGHTS // 2:
            box.put(RecordKind.OUTPUT, record(2))
        if height == OUTBOX_TTL_HEIGHTS + 9:
            box.put(RecordKind.OUTPUT, record(3))
        box.due(0, height, may_send=False)
        kept = [number for number, since in ((1, 0), (2, OUTBOX_TTL_HEIGHTS // 2), (3, OUTBOX_TTL_HEIGHTS + 9))
                if since <= height < since + OUTBOX_TTL_HEIGHTS]
        assert len(box) == len(kept), height
    assert numbers(box.due(0, 2 * OUTBOX_TTL_HEIGHTS)[0]) == [3]


def test_what_no_block_ever_takes_is_repeated_for_a_while_and_then_given_up() -> None:
    """As it comes from a life before; what is put later leaves under the number that the chain waits for."""
    first = Outbox(KEY, "n")
    first.put(RecordKind.OUTPUT, record(1))
    first.due(0, 0)
    box, said = Outbox(KEY, "n", first.flight), dict[int, int]()
    for height in range(50, 50 + OUTBOX_TTL_HEIGHTS):
        if box.due(0, height):
            said[height] = box.in_flight
    assert len(said) <= TX_TTL_HEIGHTS // AGAIN_HEIGHTS + 1
    assert max(said) < 50 + TX_TTL_HEIGHTS, "long before it is given up, so that others have forgotten it"
    box.put(RecordKind.OUTPUT, record(2))
    (raw,) = box.due(0, 50 + OUTBOX_TTL_HEIGHTS)
    assert (unpack(SignedBatch, raw).batch.nonce, numbers(raw), box.in_flight) == (1, [2], 1)


def test_room_that_is_held_is_there_whatever_else_is_said() -> None:
    """An answer was made and streamed, and its finish refused: it could never be given again."""
    box = Outbox(KEY, "n")
    with box.hold(3) as room:
        room.put(RecordKind.START, record(1))
        while box.offer(RecordKind.BUSY, record(2)):
            pass
        assert len(box) == MAX_WORK_RECORDS - 2, "what nobody depends on leaves it alone"
        with pytest.raises(Overloaded), box.hold(1):
            pass
        for _ in range(MAX_WAITING - len(box) - 2):
            box.put(RecordKind.VERDICT, record(3))
        with pytest.raises(Overloaded):
            box.put(RecordKind.VERDICT, record(3))
        room.put(RecordKind.OUTPUT, record(4))
    assert len(box) == MAX_WAITING - 1
    box.put(RecordKind.VERDICT, record(5))  # what was not used is free again
    with pytest.raises(Overloaded):
        box.put(RecordKind.VERDICT, record(5))
