"""What the mempool selects for a block: no gap in a sender's nonces, everybody's first transaction before anybody's
second, within the block's room. And its own room: whatever some senders do, another one's next transaction is accepted
and gets into the next block."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded
from p2p.base.limits import (
    GAP_TTL_HEIGHTS,
    MAX_BATCHES_AHEAD,
    MAX_BLOCK,
    MAX_TX,
    MAX_TXS_PER_ACCOUNT,
    MEMPOOL_ACCOUNT_TXS,
    MEMPOOL_ENTRY,
    MEMPOOL_PER_SENDER,
    MEMPOOL_WEIGHTLESS,
    REPEAT_HEIGHTS,
    TX_TTL_HEIGHTS,
)
from p2p.base.merkle import leaf_hash
from p2p.chain.mempool import RESERVED, Mempool, Share, Waiting

SENDERS = [bytes([number]) * 32 for number in range(4)]
ARRIVALS = st.lists(
    st.tuples(st.sampled_from(SENDERS), st.integers(1, 8), st.integers(1, 30)), max_size=40, unique_by=lambda a: a[:2]
)


def filled(arrivals: list[tuple[bytes, int, int]]) -> tuple[Mempool, dict[bytes, tuple[bytes, int]]]:
    """A pool with transactions (sender, nonce, bytes) added in this order; and what each raw one is."""
    pool, known = Mempool(), {}
    for sender, nonce, size in arrivals:
        raw = sender[:1] + bytes([nonce]) * size
        pool.add(Waiting(raw, sender, nonce, Share.WEIGHTY, 0))
        known[raw] = (sender, nonce)
    return pool, known


@given(
    arrivals=ARRIVALS, room=st.integers(0, 500), on_chain=st.dictionaries(st.sampled_from(SENDERS), st.integers(0, 4))
)
def test_the_selection_follows_the_chain_without_a_gap_and_fits(
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
def test_with_room_for_all_everything_that_follows_is_selected_in_turns(arrivals: list[tuple[bytes, int, int]]) -> None:
    pool, known = filled(arrivals)
    chosen = pool.select(10**6, lambda sender: 0)
    waiting = dict.fromkeys(known.values())
    expected = {(s, n) for s, n in waiting if all((s, below) in waiting for below in range(1, n))}
    assert {known[raw] for raw in chosen} == expected
    assert all(
        known[one][1] <= known[two][1] for one, two in pairwise(chosen)
    ), "everybody's first, then everybody's second"


def test_a_transaction_is_found_by_the_hash_that_a_block_s_root_is_made_of() -> None:
    pool, known = filled([(SENDERS[0], 1, 5)])
    (raw,) = known
    assert pool.find(leaf_hash(raw)) == raw
    pool.after_block(lambda sender: 1, 1)
    assert pool.find(leaf_hash(raw)) is None


# -- room --------------------------------------------------------------------------------------------------------------

HONEST = b"\xee" * 32
SYBILS = [b"\xaa" + number.to_bytes(31, "big") for number in range(1200)]


def batch(sender: bytes, nonce: int, size: int, share: Share, height: int = 0) -> Waiting:
    mark = sender + nonce.to_bytes(4, "big") + size.to_bytes(4, "big")
    return Waiting(mark.ljust(size, b"."), sender, nonce, share, height)


def transaction(account: bytes, nonce: int, stake: int, height: int = 0) -> Waiting:
    return Waiting(account + nonce.to_bytes(4, "big"), account, nonce, Share.ACCOUNTS, height, stake)


def added(pool: Mempool, tx: Waiting) -> bool:
    try:
        pool.add(tx)
    except FolkmootError:
        return False
    return True


def filled_bytes(pool: Mempool) -> int:
    return sum(len(tx.raw) for tx in pool._waiting.values())


FLOODS = st.tuples(
    st.integers(1, 40), st.integers(1, MAX_BATCHES_AHEAD), st.sampled_from([40, 4096, MAX_TX]),
    st.sampled_from(["from the first on", "with a gap", "all the same number"]),
)


def flood(pool: Mempool, senders: int, count: int, size: int, how: str, share: Share) -> None:
    for turn in range(min(count, 600 // senders)):
        for sender in SYBILS[:senders]:
            nonce = 1 if how == "all the same number" else turn + (3 if how == "with a gap" else 1)
            added(pool, batch(sender, nonce, size + turn, share))


@settings(deadline=None, max_examples=25)
@given(floods=st.lists(FLOODS, min_size=1, max_size=2), size=st.integers(40, MAX_TX))
def test_whatever_participants_without_weight_send_one_with_weight_gets_into_the_next_block(
    floods: list[tuple[int, int, int, str]], size: int
) -> None:
    pool = Mempool()
    for one in floods:
        flood(pool, *one, Share.WEIGHTLESS)
    mine = batch(HONEST, 1, size, Share.WEIGHTY)
    assert added(pool, mine), "there is room, whatever waits"
    assert mine.raw in pool.select(MAX_BLOCK, lambda sender: 0)
    assert filled_bytes(pool) <= MEMPOOL_WEIGHTLESS + size


@settings(deadline=None, max_examples=25)
@given(floods=st.lists(FLOODS, min_size=1, max_size=2), size=st.integers(40, MEMPOOL_WEIGHTLESS // 1024 - 512))
def test_a_sender_that_takes_no_more_than_its_part_finds_room_among_its_kind(
    floods: list[tuple[int, int, int, str]], size: int
) -> None:
    pool = Mempool()
    for one in floods:
        flood(pool, *one, Share.WEIGHTLESS)
    mine = batch(HONEST, 1, size, Share.WEIGHTLESS)
    assert added(pool, mine)
    flood(pool, 40, 15, MAX_TX, "from the first on", Share.WEIGHTLESS)
    assert pool.known(mine.raw), "and stays, whatever comes later"


def test_senders_that_no_block_served_lately_come_first() -> None:
    """A hundred senders without weight always have two more full batches waiting. A newcomer's first one waits for
    those that came before it, and no longer."""
    pool, last = Mempool(), dict[bytes, int]()
    others = SYBILS[:100]

    def refill(height: int) -> None:
        for sender in others:
            for ahead in (1, 2):
                added(pool, batch(sender, last.get(sender, 0) + ahead, 20_000, Share.WEIGHTLESS, height))

    refill(0)
    mine, height = batch(HONEST, 1, 20_000, Share.WEIGHTLESS), 0
    pool.add(mine)
    a_block = MAX_BLOCK // 20_008
    while pool.known(mine.raw):
        height += 1
        for raw in pool.select(MAX_BLOCK, lambda sender: last.get(sender, 0)):
            tx = pool._waiting[leaf_hash(raw)]
            last[tx.owner] = tx.nonce
        pool.after_block(lambda sender: last.get(sender, 0), height)
        refill(height)
        assert height <= len(others) // a_block + 1
    assert HONEST in last


def test_participants_without_weight_have_a_part_of_every_block() -> None:
    pool = Mempool()
    for sender in SYBILS[:60]:
        for nonce in range(1, 5):
            added(pool, batch(sender, nonce, 30_000, Share.WEIGHTY))
    mine = [batch(HONEST, nonce, 30_000, Share.WEIGHTLESS) for nonce in range(1, 12)]
    for tx in mine:
        pool.add(tx)
    chosen = pool.select(MAX_BLOCK, lambda sender: 0)
    assert [tx.raw for tx in mine if tx.raw in chosen] == [tx.raw for tx in mine[: MAX_BLOCK // RESERVED // 30_008]]
    assert sum(len(raw) + 8 for raw in chosen) <= MAX_BLOCK


def test_a_nonce_has_one_batch_and_a_sender_no_more_than_its_own_room() -> None:
    pool = Mempool()
    pool.add(batch(HONEST, 1, 50, Share.WEIGHTY))
    with pytest.raises(InvalidRequest, match="nonce"):
        pool.add(batch(HONEST, 1, 51, Share.WEIGHTY))
    taken = sum(added(pool, batch(HONEST, nonce, MAX_TX, Share.WEIGHTY)) for nonce in range(2, MAX_BATCHES_AHEAD + 1))
    assert taken * MAX_TX <= MEMPOOL_PER_SENDER
    with pytest.raises(Overloaded, match="sender"):
        pool.add(batch(HONEST, MAX_BATCHES_AHEAD, MAX_TX, Share.WEIGHTY))


def test_a_transaction_behind_a_gap_is_dropped_soon_and_makes_no_block_ready() -> None:
    pool = Mempool()
    pool.add(batch(HONEST, 2, 50, Share.WEIGHTY))
    pool.add(batch(SYBILS[0], 1, 50, Share.WEIGHTLESS))
    assert pool.is_ready(lambda sender: 0)
    assert not pool.is_ready(lambda sender: 0 if sender == HONEST else 1)
    pool.after_block(lambda sender: 0, GAP_TTL_HEIGHTS)
    assert len(pool) == 2
    pool.after_block(lambda sender: 0, GAP_TTL_HEIGHTS + 1)
    assert len(pool) == 1, "the one that a block could take stays"
    pool.after_block(lambda sender: 0, TX_TTL_HEIGHTS + 1)
    assert len(pool) == 0


def test_content_is_news_once_and_again_after_many_heights() -> None:
    pool = Mempool()
    assert [pool.is_news(b"x", height) for height in (5, 5, 6, 4 + REPEAT_HEIGHTS)] == [True, False, False, False]
    assert [pool.is_news(b"x", height) for height in (5 + REPEAT_HEIGHTS, 6 + REPEAT_HEIGHTS)] == [True, False]


@given(stakes=st.lists(st.integers(1, 99), min_size=1, max_size=4), each=st.integers(1, 3 * MAX_TXS_PER_ACCOUNT))
@settings(deadline=None, max_examples=5)
def test_a_transaction_of_a_richer_account_gets_into_the_next_block(stakes: list[int], each: int) -> None:
    """Any number of accounts, each with a smaller balance than mine, fill their share and keep filling it."""
    pool = Mempool()
    many = [b"\xbb" + number.to_bytes(31, "big") for number in range(MEMPOOL_ACCOUNT_TXS + 50)]
    for account in many[: MEMPOOL_ACCOUNT_TXS // min(each, MAX_TXS_PER_ACCOUNT) + 50]:
        for nonce in range(1, each + 1):
            added(pool, transaction(account, nonce, stakes[account[-1] % len(stakes)]))
    assert len(pool) <= MEMPOOL_ACCOUNT_TXS
    mine = transaction(HONEST, 1, 100)
    assert added(pool, mine)
    for account in many:
        added(pool, transaction(account, 99, 50))
    assert mine.raw in pool.select_operations(MAX_BLOCK)
    batches = [batch(sender, 1, MAX_TX, Share.WEIGHTY) for sender in SYBILS[:40]]
    assert all(added(pool, tx) for tx in batches), "account transactions take no room of batches"


def test_transactions_whose_nonce_was_used_and_those_that_expired_are_told_apart() -> None:
    pool = Mempool()
    for nonce in (1, 2):
        pool.add(transaction(HONEST, nonce, 5))
    used, late = pool.after_block(lambda sender: 0, 1, lambda account, nonce: (account, nonce) == (HONEST, 1))
    assert ([tx.nonce for tx in used], late) == ([1], [])
    used, late = pool.after_block(lambda sender: 0, TX_TTL_HEIGHTS + 1)
    assert (used, [tx.nonce for tx in late]) == ([], [2])
    assert len(pool) == 0


def full_of_small_owners(most: int, each: int) -> Mempool:
    """One sender has `most` batches of 700 bytes; the rest of the share is filled by others with one batch of `each`
    bytes."""
    pool = Mempool()
    for nonce in range(1, most + 1):
        assert added(pool, batch(SYBILS[0], nonce, 700, Share.WEIGHTLESS))
    for sender in SYBILS[1:]:
        if pool._filled[Share.WEIGHTLESS] + each + MEMPOOL_ENTRY <= MEMPOOL_WEIGHTLESS:
            assert added(pool, batch(sender, 1, each, Share.WEIGHTLESS))
    return pool


@settings(deadline=None, max_examples=30)
@given(most=st.integers(1, MAX_BATCHES_AHEAD), each=st.integers(6_000, MAX_TX), size=st.integers(40, MAX_TX))
# as it happened once: 47 of 60 were evicted, which left their sender a quarter of what the newcomer had
@example(most=60, each=10_000, size=MAX_TX - 100)
def test_only_senders_that_hold_more_than_the_newcomer_make_room_for_it(
    most: int, each: int, size: int
) -> None:
    """This holds up to the last batch that is evicted: from senders that hold less than the newcomer nothing is
    taken."""
    pool, mine = full_of_small_owners(most, each), batch(HONEST, 1, size, Share.WEIGHTLESS)
    held, count = {sender: owner.cost for sender, owner in pool._owners[Share.WEIGHTLESS].items()}, len(pool)
    try:
        pushed = pool.add(mine)
    except Overloaded:
        assert len(pool) == count, "nothing is evicted for a transaction that is refused"
        return
    assert len(pool) == count + 1 - len(pushed)
    for tx in pushed:
        assert held[tx.owner] > mine.cost, "it still held more when this one was evicted"
        held[tx.owner] -= tx.cost
