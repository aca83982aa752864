"""Gossip on the topic `transactions`: each content is accepted once, ignored where this peer cannot judge it, and
rejected only for what is wrong for every peer. What is ignored is neither remembered as wrong nor held against the
sender."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import Unavailable
from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_BATCHES_AHEAD, REPEAT_HEIGHTS
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION, Batch, OutputRecord, Params, Record, RecordKind, Request, SignedBatch, SignedRequest
from p2p.chain.chain import Chain
from p2p.chain.mempool import Share
from p2p.gossip.connections.score import Scores
from p2p.ledger import transactions
from p2p.ledger.rules.ops import Cap, Register, Transfer, consent, sign_op
from p2p.ledger.transactions import pack_operation
from p2p.peer.agent import Agent
from p2p.peer.config import NodeConfig
from p2p.peer.node import Node
from p2p.peer.outbox import Outbox
from p2p.wire.frames import Ask
from tests.chains import extend, next_priorities

PEERS = [Key(bytes([i]) * 32) for i in range(1, 5)]
NEW, CLIENT, POOR = (Key(bytes([i]) * 32) for i in (9, 32, 33))
KEYS = {key.public: key for key in PEERS}
GENESIS = Genesis(
    VERSION, "n", 1000, tuple(GenesisPeer(k.public, CLIENT.public, 10, ("toy",)) for k in PEERS),
    (GenesisAccount(CLIENT.public, 1_000_000),),
    (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 1, 2048),), epoch_blocks=50,
)
RECORD = Record(RecordKind.OUTPUT, encode(OutputRecord(bytes(32), bytes(32), bytes(32), 1)))


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = Chain.open(tmp_path, GENESIS)
    yield opened
    opened.close()


def batch(key: Key, nonce: int, records: int = 1, **change: Any) -> bytes:
    body = replace(Batch(VERSION, GENESIS.network, key.public, nonce, (RECORD,) * records), **change)
    return encode(SignedBatch(body, key.sign(Domain.TX, body.network, encode(body))))


def forged(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


def grow(chain: Chain, count: int) -> None:
    extend(chain, chain.height() + count, KEYS, lambda height: 1000 + height * 1000)


CASES: list[tuple[str, Callable[[], bytes], Outcome]] = [
    ("a batch", lambda: batch(PEERS[0], 1), Outcome.ACCEPT),
    ("a little ahead", lambda: batch(PEERS[0], MAX_BATCHES_AHEAD), Outcome.ACCEPT),
    ("further ahead", lambda: batch(PEERS[0], MAX_BATCHES_AHEAD + 1), Outcome.IGNORE),
    ("as far ahead as there are numbers", lambda: batch(PEERS[0], 2**63 - 1), Outcome.IGNORE),
    ("a number from before the first", lambda: batch(PEERS[0], 0), Outcome.IGNORE),
    ("of nobody known here", lambda: batch(NEW, 1), Outcome.IGNORE),
    ("not bytes of ours", lambda: b"\x00", Outcome.REJECT),
    ("cut off", lambda: batch(PEERS[0], 1)[:-3], Outcome.REJECT),
    ("another version", lambda: batch(PEERS[0], 1, version=VERSION + 1), Outcome.REJECT),
    ("another network", lambda: batch(PEERS[0], 1, network="m"), Outcome.REJECT),
    ("without a record", lambda: batch(PEERS[0], 1, records=0), Outcome.REJECT),
    ("another's signature", lambda: forged(batch(PEERS[0], 1)), Outcome.REJECT),
    ("an order", lambda: pack_operation(sign_op(CLIENT, GENESIS.network, 1, Cap(1, 1))), Outcome.ACCEPT),
    (
        "an order of an account unknown here", lambda: pack_operation(sign_op(POOR, GENESIS.network, 1, Cap(1, 1))),
        Outcome.IGNORE
    ),
    (
        "one that asks for too much",
        lambda: pack_operation(sign_op(CLIENT, GENESIS.network, 1, Transfer(POOR.public, 1_000_001))), Outcome.IGNORE
    ),
    ("an order for another network", lambda: pack_operation(sign_op(CLIENT, "m", 1, Cap(1, 1))), Outcome.REJECT),
    (
        "an order under another's signature",
        lambda: forged(pack_operation(sign_op(CLIENT, GENESIS.network, 1, Cap(1, 1)))), Outcome.REJECT
    ),
]


@pytest.mark.parametrize(("raw", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_message_has_one_of_three_outcomes(chain: Chain, raw: Callable[[], bytes], outcome: Outcome) -> None:
    assert chain.pool.hear(raw()) is outcome
    assert len(chain.pool.mempool) == (outcome is Outcome.ACCEPT)
    assert chain.pool.mempool.was_refused(raw()) is (outcome is Outcome.REJECT)


def test_a_content_is_forwarded_once_however_it_is_wrapped(tmp_path: Path) -> None:
    PEERS[0].save(tmp_path / "node.key")
    node = Node(NodeConfig(tmp_path, "n"), GENESIS, lambda state, text: None)
    raw = batch(PEERS[1], 1)

    def heard(retry: object) -> Outcome:
        return node.topics.transaction("somebody", encode([retry, raw]))

    assert [heard(retry) for retry in range(20)] == [Outcome.ACCEPT] + [Outcome.IGNORE] * 19
    assert heard("text") is Outcome.REJECT
    assert node.topics.transaction("somebody", encode([1, raw, 2])) is Outcome.REJECT
    grow(node.chain, 1)
    assert {heard(retry) for retry in range(20, 40)} == {Outcome.IGNORE}, "what is in a block is not forwarded any more"
    woken: list[int] = []
    node.consensus.wake = lambda: woken.append(1)  # type: ignore[method-assign]
    for nonce, times in ((3, 0), (2, 1)):  # behind a gap it does not make a block ready
        assert node.topics.transaction("somebody", encode([0, batch(PEERS[1], nonce)])) is Outcome.ACCEPT
        assert len(woken) == times
    node.chain.close()


def test_what_waits_long_is_forwarded_again(chain: Chain, tmp_path: Path) -> None:
    """The first time it may have reached few peers. A repeat once in REPEAT_HEIGHTS cannot be used to flood anybody.
    The blocks are made by a peer that never heard it."""
    raw, deaf = batch(PEERS[0], 1), Chain.open(tmp_path / "deaf", GENESIS)
    outcomes = []
    for _ in range(2 * REPEAT_HEIGHTS):
        outcomes.append(chain.pool.hear(raw))
        grow(deaf, 1)
        follow(chain, deaf)
    assert [height for height, one in enumerate(outcomes) if one is Outcome.ACCEPT] == [0, REPEAT_HEIGHTS]
    deaf.close()


def follow(chain: Chain, other: Chain) -> None:
    while chain.height() < other.height():
        found = other.blocks.block(chain.height() + 1)
        assert found is not None
        chain.finalize(*found, next_priorities(chain))


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(behind=st.integers(1, 6), count=st.integers(1, 40))
def test_a_joiner_penalises_nobody_for_what_it_cannot_know_and_accepts_it_later(
    tmp_path_factory: pytest.TempPathFactory, behind: int, count: int
) -> None:
    """A participant registered while the joiner was away and sends a batch; the joiner hears it before it has that
    block."""
    ahead = Chain.open(tmp_path_factory.mktemp("ahead"), GENESIS)
    joiner = Chain.open(tmp_path_factory.mktemp("joiner"), GENESIS)
    ahead.pool.add(pack_operation(sign_op(CLIENT, GENESIS.network, 1, Register(
        NEW.public, (), (), 0, "", NEW.sign(Domain.NODE, GENESIS.network, consent(CLIENT.public))
    ))))
    grow(ahead, behind)
    scores, spoken = Scores(), [batch(NEW, nonce) for nonce in range(1, count + 1)]
    for raw in spoken[:MAX_BATCHES_AHEAD]:
        assert ahead.pool.hear(raw) is Outcome.ACCEPT
    for raw in spoken:
        if joiner.pool.hear(raw) is Outcome.REJECT:
            scores.penalise("an honest forwarder", 10, 0.0)
    assert scores.points("an honest forwarder", 0.0) == 0
    follow(joiner, ahead)
    assert joiner.pool.hear(spoken[0]) is Outcome.ACCEPT, "it was not remembered as invalid"
    ahead.close()
    joiner.close()


def test_no_signature_is_checked_for_what_cannot_be_kept(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap checks come before the signature: the sender is unknown, the nonce is used or too far ahead, the content is
    known, there is no room."""
    asked: list[bytes] = []
    real = transactions.verify

    def counted(key: bytes, *rest: Any) -> bool:
        asked.append(key)
        return real(key, *rest)

    monkeypatch.setattr(transactions, "verify", counted)
    for raw in (batch(NEW, 1), batch(PEERS[0], 0), batch(PEERS[0], MAX_BATCHES_AHEAD + 1),
                pack_operation(sign_op(POOR, GENESIS.network, 1, Cap(1, 1)))):
        assert chain.pool.hear(raw) is Outcome.IGNORE
    assert asked == []
    assert chain.pool.hear(batch(PEERS[0], 1)) is Outcome.ACCEPT
    assert asked == [PEERS[0].public]
    for raw in (batch(PEERS[0], 1), batch(PEERS[0], 1, records=2)):
        assert chain.pool.hear(raw) is Outcome.IGNORE
    assert asked == [PEERS[0].public]


def test_sixteen_senders_with_gaps_take_nobodys_place(tmp_path: Path) -> None:
    """Sixteen participants without weight send all they may behind a gap in their nonces. Another honest peer's next
    batch is in the next block all the same, and after a few heights nothing of theirs is left."""
    sybils = [Key(bytes([100 + i]) * 32) for i in range(16)]
    genesis = replace(GENESIS, peers=(*GENESIS.peers, *(GenesisPeer(k.public, POOR.public, 0, ()) for k in sybils)))
    chain = Chain.open(tmp_path, genesis)
    for key in sybils:
        for nonce in range(2, 258):
            assert chain.pool.hear(batch(key, nonce, network=genesis.network)) is (
                Outcome.ACCEPT if nonce <= MAX_BATCHES_AHEAD else Outcome.IGNORE
            )
    assert not chain.pool.has_txs(), "there is nothing that a block could take, so no block is ready"
    mine = batch(PEERS[0], 1, network=genesis.network)
    assert chain.pool.hear(mine) is Outcome.ACCEPT
    assert chain.prepare(10**6) == (mine,)
    shares = {tx.owner: tx.share for tx in chain.pool.mempool._waiting.values()}
    assert shares == {PEERS[0].public: Share.WEIGHTY, **dict.fromkeys((key.public for key in sybils), Share.WEIGHTLESS)}
    grow(chain, 7)
    assert len(chain.pool.mempool) == 0
    chain.close()


async def test_an_unregistered_peer_takes_no_request_and_queues_nothing(chain: Chain) -> None:
    async def nowhere(peer: str, protocol: str) -> Any:
        raise AssertionError("nobody is asked")

    outbox = Outbox(NEW, GENESIS.network)
    request = Request(
        VERSION, GENESIS.network, CLIENT.public, 1, "toy", one_message("hi").hash, Params(), 50, 50, 100, 40,
        CLIENT.public, 1
    )
    signed = SignedRequest(request, CLIENT.sign(Domain.REQUEST, GENESIS.network, encode(request)))
    ask = Ask(VERSION, signed, encode(one_message("hi")))
    stream: Any = None
    with pytest.raises(Unavailable, match="not registered: ask another, or register it"):
        await Agent(NEW, chain, outbox, nowhere).serve(stream, ask)
    assert (len(outbox), len(chain.reservations)) == (0, 0)
