"""Account transactions on their way: any peer takes one, a block carries it without a batch, every peer applies it. An
agent checks them by the chain's own rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, Unavailable
from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_TXS_PER_ACCOUNT, REPEAT_HEIGHTS, STALE_TIP_S, TX_TTL_HEIGHTS
from p2p.base.types import VERSION, Batch, OutputRecord, Params, Record, RecordKind, Request, SignedBatch, SignedRequest
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.chain.mempool import Share, Waiting
from p2p.consensus.certificates import commit_certificate
from p2p.consensus.header import make_block
from p2p.consensus.messages import Block, CommitCertificate, Vote, VoteType, sign_vote
from p2p.consensus.validators import ValidatorSet, load_priorities, proposer
from p2p.ledger.rules.ops import Body, Cap, Delegate, Rotate, SignedOp, Transfer, consent_to_rotate, sign_op
from p2p.ledger.transactions import pack_operation
from p2p.peer.outbox import Outbox
from p2p.store.batch import Batch as StoreBatch
from p2p.wire.frames import SubmitTransaction, pack_frame, parse_frame
from tests.chains import extend, next_priorities

PEERS = [Key(bytes([i]) * 32) for i in range(1, 5)]
NEW, CLIENT, HOT, OTHER = (Key(bytes([i]) * 32) for i in (9, 32, 33, 34))
KEYS = {key.public: key for key in (*PEERS, NEW)}
GENESIS = Genesis(
    VERSION, "n", 1000, tuple(GenesisPeer(k.public, CLIENT.public, 10, ("toy",)) for k in PEERS),
    (GenesisAccount(CLIENT.public, 10_000),),
    (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 1, 2048),), epoch_blocks=6,
)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = Chain.open(tmp_path, GENESIS)
    yield opened
    opened.close()


def op(chain: Chain, body: Body, key: Key = CLIENT) -> SignedOp:
    return sign_op(key, GENESIS.network, int(chain.answers.account(key.public).next_nonce), body)


def grow(chain: Chain, count: int) -> None:
    extend(chain, chain.height() + count, KEYS, lambda height: 1000 + height * 1000)


def send(chain: Chain, outbox: Outbox, sender: Key) -> None:
    (raw,) = outbox.due(chain.reader.batch_nonce(sender.public), chain.height())
    chain.pool.add(raw)


def request(nonce: int, key: Key) -> SignedRequest:
    body = Request(
        VERSION, GENESIS.network, CLIENT.public, nonce, "toy", bytes(32), Params(), 50, 50, 100, 40, key.public, 0
    )
    return SignedRequest(body, key.sign(Domain.REQUEST, GENESIS.network, encode(body)))


def transactions_of(chain: Chain) -> AccountTransactions:
    return AccountTransactions(chain, lambda: chain.last_time_ms() / 1000)


def test_a_transaction_is_taken_and_applied_without_any_participant(chain: Chain) -> None:
    transactions, sent = transactions_of(chain), op(chain, Transfer(OTHER.public, 7))
    frame = parse_frame(pack_frame(SubmitTransaction(VERSION, sent)))
    assert isinstance(frame, SubmitTransaction)
    raw, answer = transactions.take(frame.signed_op)
    assert (answer.kind, answer.nonce, answer.op_id) == ("transfer", 1, sent.op_id.hex())
    assert raw == pack_operation(sent)
    assert transactions.take(frame.signed_op) == (None, answer), "the same one again is not published again"
    with pytest.raises(InvalidRequest, match="nonce: "):
        transactions.take(sign_op(CLIENT, GENESIS.network, 1, Cap(1, 1)))
    second = op(chain, Cap(5, 5))
    assert second.op.nonce == 2, "the next nonce counts what waits in the mempool"
    transactions.take(second)
    assert transactions.fate(sent.op_id).state == "waiting"
    grow(chain, 1)
    assert chain.answers.account(OTHER.public).balance_micro == 7
    assert chain.answers.account(CLIENT.public).request_cap_micro == 5
    assert (transactions.fate(sent.op_id).state, transactions.fate(sent.op_id).height) == ("done", 1)
    with pytest.raises(InvalidRequest, match="nonce 1 was used"):
        transactions.take(sent)
    assert chain.blocks.receipts(chain.height()) == ()
    assert (transactions.due(), len(transactions)) == ([], 0)


def test_what_the_chain_would_refuse_is_not_taken(chain: Chain) -> None:
    transactions = transactions_of(chain)
    for bad, field in (
        (op(chain, Transfer(OTHER.public, 10_001)), "amount_micro"), (sign_op(CLIENT, "m", 1, Cap(1, 1)), "network"),
        (op(chain, Delegate(HOT.public, 1, 1, 0)), "expires"), (sign_op(NEW, GENESIS.network, 1, Cap(1, 1)), "account"),
        (replace(op(chain, Cap(1, 1)), signature=bytes(64)), "signature"),
    ):
        with pytest.raises(FolkmootError) as caught:
            transactions.take(bad)
        assert caught.value.field == field
        assert not isinstance(caught.value, Unavailable)
    assert (len(chain.pool.mempool), chain.answers.account(CLIENT.public).next_nonce) == (0, 1)


def test_a_peer_that_is_behind_says_so_instead_of_refusing(chain: Chain) -> None:
    transactions = AccountTransactions(chain, lambda: chain.last_time_ms() / 1000 + STALE_TIP_S + 1)
    with pytest.raises(Unavailable, match="catching up"):
        transactions.take(op(chain, Transfer(OTHER.public, 10_001)))


def test_waiting_transactions_of_one_account_cost_no_more_than_it_has(chain: Chain) -> None:
    transactions = transactions_of(chain)
    transactions.take(op(chain, Transfer(OTHER.public, 6_000)))
    with pytest.raises(InvalidRequest, match="amount_micro"):
        transactions.take(op(chain, Transfer(OTHER.public, 6_000)))
    for _ in range(MAX_TXS_PER_ACCOUNT - 1):
        transactions.take(op(chain, Cap(5, 5)))
    with pytest.raises(Overloaded):
        transactions.take(op(chain, Cap(1, 1)))
    next_nonce = chain.answers.account(CLIENT.public).next_nonce
    assert next_nonce == 1 + MAX_TXS_PER_ACCOUNT, "what a full mempool refused uses up no nonce"


def test_the_peer_tells_which_transaction_a_block_refused(chain: Chain, tmp_path: Path) -> None:
    """Another peer's block holds two transfers, of which the account can pay one: the second is refused."""
    first, second = (sign_op(CLIENT, GENESIS.network, nonce, Transfer(OTHER.public, 6_000)) for nonce in (1, 2))
    other = Chain.open(tmp_path / "other", GENESIS)
    transactions = transactions_of(chain)
    transactions.take(first)
    other.pool.add(pack_operation(first))
    other.pool.mempool.add(Waiting(pack_operation(second), CLIENT.public, 2, Share.ACCOUNTS, 0, 1))
    block = make_block(other, KEYS[leader(chain)], GENESIS.network, 0, 2000, ())
    assert block.txs == (pack_operation(first),), "a proposer leaves out what cannot be applied"
    both = replace(block, txs=(pack_operation(first), pack_operation(second)))
    assert chain.validate(both), "but a block with it is valid"
    chain.finalize(both, certificate(chain, both), next_priorities(chain))
    assert transactions.fate(first.op_id).state == "done"
    refused = transactions.fate(second.op_id)
    assert (refused.state, refused.field) == ("refused", "amount_micro")
    assert [(one.sender, one.field) for one in chain.blocks.receipts(1)] == [(CLIENT.public, "amount_micro")]
    third = sign_op(CLIENT, GENESIS.network, 3, Cap(1, 1))
    transactions.take(third)
    grow(chain, TX_TTL_HEIGHTS)
    assert transactions.fate(third.op_id).state == "done"
    assert transactions.fate(bytes(32)).state == "unknown"
    other.close()


def test_the_peer_tells_which_transaction_no_block_took_in_time(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, transactions = op(chain, Cap(1, 1)), transactions_of(chain)
    transactions.take(sent)
    monkeypatch.setattr(chain, "prepare", lambda max_bytes: ())
    grow(chain, 1 + TX_TTL_HEIGHTS)
    found = transactions.fate(sent.op_id)
    assert (found.state, f"{TX_TTL_HEIGHTS} heights" in found.reason) == ("dropped", True)


def test_submitting_a_transaction_again_does_not_make_the_peer_gossip_it_more_often(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client cannot make this peer gossip more often, or at other heights, by submitting its transaction again."""
    sent, transactions, said = op(chain, Cap(1, 1)), transactions_of(chain), list[int]()
    monkeypatch.setattr(chain, "prepare", lambda max_bytes: ())
    for height in range(2 * REPEAT_HEIGHTS + 1):
        for _ in range(50):
            said += [height for raw in [transactions.take(sent)[0]] if raw is not None]
        said += [height for _ in transactions.due()]
        grow(chain, 1)
    assert said == [0, REPEAT_HEIGHTS, 2 * REPEAT_HEIGHTS]


def test_a_transaction_that_came_by_gossip_is_not_published_again_at_once(chain: Chain) -> None:
    sent, transactions = op(chain, Cap(1, 1)), transactions_of(chain)
    chain.pool.hear(pack_operation(sent))
    assert transactions.take(sent)[0] is None
    assert len(transactions) == 1, "but it is published again later if no block takes it"


def in_a_batch(*ops: SignedOp) -> bytes:
    body = Batch(VERSION, GENESIS.network, PEERS[0].public, 1, tuple(Record(RecordKind.OP, encode(one)) for one in ops))
    return encode(SignedBatch(body, PEERS[0].sign(Domain.TX, GENESIS.network, encode(body))))


def test_a_transaction_in_a_batch_is_done_and_a_refused_copy_there_changes_nothing(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A participant may copy account transactions from gossip into its own batch: what is applied there is done. A copy
    that was forged, or that is too early, changes nothing for the original, which still waits."""
    first, second, third = (
        sign_op(CLIENT, GENESIS.network, nonce, Transfer(OTHER.public, 3_000)) for nonce in (1, 2, 3)
    )
    transactions = transactions_of(chain)
    for one in (first, second, third):
        transactions.take(one)
    too_much = sign_op(CLIENT, GENESIS.network, 4, Transfer(OTHER.public, 9_000))
    raw = in_a_batch(first, replace(second, signature=bytes(64)), too_much)
    with monkeypatch.context() as patch:
        patch.setattr(chain, "prepare", lambda max_bytes: (raw,))
        grow(chain, 1)
    assert chain.answers.account(OTHER.public).balance_micro == 3_000
    assert [transactions.fate(one.op_id).state for one in (first, second, third)] == ["done", "waiting", "waiting"]
    assert transactions.fate(too_much.op_id).state == "unknown"
    grow(chain, 1)
    assert [transactions.fate(one.op_id).state for one in (first, second, third)] == ["done"] * 3


def test_a_used_nonce_is_never_called_free(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nonce may be used by another transaction, as this peer saw, or by one that it did not see, because its state
    came from a snapshot: then most likely by this transaction itself."""
    first, other = (sign_op(CLIENT, GENESIS.network, 1, Transfer(to.public, 7)) for to in (OTHER, HOT))
    second, transactions = sign_op(CLIENT, GENESIS.network, 2, Transfer(OTHER.public, 8)), transactions_of(chain)
    transactions.take(first)
    transactions.take(second)
    ahead = Chain.open(tmp_path / "ahead", GENESIS)
    ahead.pool.add(pack_operation(other))
    grow(ahead, 1)
    with monkeypatch.context() as patch:
        patch.setattr(chain, "prepare", lambda max_bytes: (pack_operation(other),))
        grow(chain, 1)
    found = transactions.fate(first.op_id)
    assert (found.state, found.code) == ("used", "used_by_another")
    ahead.pool.add(pack_operation(second))
    grow(ahead, 1)
    batch = StoreBatch()
    for key, value in ahead.store.walk("state"):
        batch.put("state", key, value)
    chain.become(ahead.state.tip, batch)
    found = transactions.fate(second.op_id)
    assert (found.state, found.code) == ("used", "not_seen")
    assert chain.answers.account(OTHER.public).balance_micro == 8
    ahead.close()


def test_each_refusal_of_a_nonce_has_its_own_code(chain: Chain) -> None:
    """A client that waits for its transaction must not take the refusal of another one with the same nonce for its
    own."""
    transactions, sent = transactions_of(chain), [sign_op(CLIENT, GENESIS.network, 1, Cap(at, at)) for at in (1, 2)]
    transactions.take(sent[0])
    codes = []
    for one in (sent[1], sign_op(CLIENT, GENESIS.network, 3000, Cap(1, 1))):
        with pytest.raises(InvalidRequest) as caught:
            transactions.take(one)
        codes.append(caught.value.code)
    grow(chain, 1)
    with pytest.raises(InvalidRequest) as caught:
        transactions.take(sent[0])
    assert [*codes, caught.value.code] == ["nonce_waits", "nonce_ahead", "nonce_used"]


def test_a_block_holds_no_transaction_twice_and_none_of_a_used_nonce(chain: Chain) -> None:
    sent = sign_op(CLIENT, GENESIS.network, 1, Transfer(OTHER.public, 7))
    raw = pack_operation(sent)
    forged = pack_operation(replace(sign_op(CLIENT, GENESIS.network, 2, Cap(1, 1)), signature=bytes(64)))
    block = make_block(chain, KEYS[leader(chain)], GENESIS.network, 0, 2000, ())
    assert chain.validate(replace(block, txs=(raw,)))
    assert not chain.validate(replace(block, txs=(raw, raw)))
    assert not chain.validate(replace(block, txs=(raw, pack_operation(sign_op(CLIENT, GENESIS.network, 1, Cap(1, 1))))))
    assert not chain.validate(replace(block, txs=(forged,)))
    transactions_of(chain).take(sent)
    grow(chain, 1)
    assert not chain.validate(replace(block, txs=(raw,)))


def leader(chain: Chain) -> bytes:
    members = ValidatorSet.of(chain.validators())
    return proposer(members, load_priorities(chain.priorities(), members), 0)


def certificate(chain: Chain, block: Block) -> CommitCertificate:
    at = chain.height() + 1
    votes = [
        sign_vote(KEYS[k], Vote(GENESIS.network, VoteType.PRECOMMIT, at, 0, block.block_id, -1, k))
        for k, _ in chain.validators()
    ]
    return commit_certificate(votes, at, 0, block.block_id)


def test_an_agent_counts_what_it_took_against_the_caps_of_the_key_that_signed(chain: Chain) -> None:
    with pytest.raises(InvalidRequest, match="no hot key"):
        chain.reservations.check_new(request(5, HOT))
    transactions_of(chain).take(op(chain, Delegate(HOT.public, 2000, 1000, 99)))
    grow(chain, 1)
    for nonce in (5, 6):
        chain.reservations.check_new(request(nonce, HOT))
        chain.reservations.reserve(request(nonce, HOT))
    with pytest.raises(InvalidRequest, match="epoch_cap_micro: "):
        chain.reservations.check_new(request(7, HOT))
    chain.reservations.check_new(request(7, CLIENT))  # the account itself has no cap


def test_a_rotated_key_is_refused_at_once_and_votes_no_more_from_the_next_set_on(chain: Chain) -> None:
    old = PEERS[1]
    words = consent_to_rotate(CLIENT.public, old.public, NEW.public)
    body = Rotate(
        old.public, NEW.public, old.sign(Domain.NODE, GENESIS.network, words),
        NEW.sign(Domain.NODE, GENESIS.network, words)
    )
    transactions_of(chain).take(op(chain, body))
    both = Outbox(old, GENESIS.network), Outbox(NEW, GENESIS.network)
    for box, key in zip(both, (old, NEW), strict=True):
        box.put(RecordKind.OUTPUT, OutputRecord(bytes(32), key.public, bytes(32), 1))
    with pytest.raises(Unavailable, match="sender"):
        send(chain, both[1], NEW)
    both[1].due(10**6, 0)  # it waits for that one no longer
    send(chain, both[0], old)  # in the same block: it was sent before
    grow(chain, 1)
    for box, key in zip(both, (old, NEW), strict=True):
        box.put(RecordKind.OUTPUT, OutputRecord(bytes(32), key.public, bytes(32), 1))
    with pytest.raises(InvalidRequest, match="sender"):
        send(chain, both[0], old)
    send(chain, both[1], NEW)
    assert old.public in dict(chain.validators())
    grow(chain, GENESIS.epoch_blocks)
    assert dict(chain.validators()).keys() == KEYS.keys() - {old.public}
