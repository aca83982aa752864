"""The mempool's choice for a block: no gap in a sender's nonces, everybody's first before anybody's second, within the room."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from p2p.ledger.mempool import Mempool
from p2p.merkle import leaf_hash
from p2p.types import Batch, SignedBatch

SENDERS = [bytes([number]) * 32 for number in range(4)]
ARRIVALS = st.lists(st.tuples(st.sampled_from(SENDERS), st.integers(1, 8), st.integers(1, 30)), max_size=40, unique_by=lambda a: a[:2])


def filled(arrivals: list[tuple[bytes, int, int]]) -> tuple[Mempool, dict[bytes, tuple[bytes, int]]]:
    """With (sender, nonce, bytes) in this order; and what each raw is."""
    pool, known = Mempool(), {}
    for sender, nonce, size in arrivals:
        raw = sender[:1] + bytes([nonce]) * size
        pool.add(raw, SignedBatch(Batch(1, "n", sender, nonce, ()), bytes(64)), 0)
        known[raw] = (sender, nonce)
    return pool, known


@given(arrivals=ARRIVALS, room=st.integers(0, 500), on_chain=st.dictionaries(st.sampled_from(SENDERS), st.integers(0, 4)))
def test_what_is_chosen_follows_the_chain_without_a_gap_and_fits(
    arrivals: list[tuple[bytes, int, int]], room: int, on_chain: dict[bytes, int]
) -> None:
    pool, known = filled(arrivals)
    chosen = pool.select(room, lambda sender: on_chain.get(sender, 0))
    assert sum(len(raw) + 8 for raw in chosen) <= room
    for sender in SENDERS:
        nonces = [known[raw][1] for raw in chosen if known[raw][0] == sender]
        first = on_chain.get(sender, 0) + 1
        assert nonces == list(range(first, first + len(nonces)))


@given(arrivals=ARRIVALS)
def test_with_room_for_all_everything_that_follows_is_chosen_in_turns(arrivals: list[tuple[bytes, int, int]]) -> None:
    pool, known = filled(arrivals)
    chosen = pool.select(10**6, lambda sender: 0)
    waiting = dict.fromkeys(known.values())
    expected = {(s, n) for s, n in waiting if all((s, below) in waiting for below in range(1, n))}
    assert {known[raw] for raw in chosen} == expected
    assert all(known[one][1] <= known[two][1] for one, two in pairwise(chosen)), "everybody's first, then everybody's second"


def test_a_transaction_is_found_by_the_hash_that_a_block_s_root_is_made_of() -> None:
    pool, known = filled([(SENDERS[0], 1, 5)])
    (raw,) = known
    assert pool.find(leaf_hash(raw)) == raw
    pool.settle(lambda sender: 1, 1)
    assert pool.find(leaf_hash(raw)) is None
