"""Batches in a block: several of one peer, in the order of their nonces. A block with a gap, a repeat or another order
is invalid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.genesis import Genesis, GenesisPeer
from p2p.base.keys import Domain, Key
from p2p.base.types import VERSION, Batch, OutputRecord, Record, RecordKind, SignedBatch
from p2p.chain.chain import Chain
from p2p.consensus.header import make_block, tx_root
from tests.chains import extend

PEERS = [Key(bytes([number]) * 32) for number in (1, 2, 3)]
KEYS = {key.public: key for key in PEERS}
GENESIS = Genesis(VERSION, "n", 0, tuple(GenesisPeer(key.public, bytes(32), 10, ()) for key in PEERS), (), ())


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = Chain.open(tmp_path, GENESIS)
    yield opened
    opened.close()


def batch(key: Key, nonce: int, word: int = 0) -> bytes:
    record = Record(RecordKind.OUTPUT, encode(OutputRecord(bytes(32), key.public, bytes(32), word)))
    body = Batch(VERSION, GENESIS.network, key.public, nonce, (record,))
    return encode(SignedBatch(body, key.sign(Domain.TX, GENESIS.network, encode(body))))


def test_three_batches_of_one_peer_are_decided_in_one_block(chain: Chain) -> None:
    sent = [batch(PEERS[0], nonce) for nonce in (1, 2, 3)]
    for raw in (sent[2], sent[0], batch(PEERS[1], 1), sent[1], batch(PEERS[2], 2)):
        chain.pool.add(raw)
    extend(chain, 1, KEYS, lambda height: 1000)
    found = chain.blocks.block(1)
    assert found is not None
    assert [raw for raw in found[0].txs if raw in sent] == sent
    assert len(found[0].txs) == 4, "peer 2's second batch waits for its first"
    assert [chain.reader.batch_nonce(key.public) for key in PEERS] == [3, 1, 0]
    chain.pool.add(batch(PEERS[2], 1))
    extend(chain, 2, KEYS, lambda height: 2000)
    assert chain.reader.batch_nonce(PEERS[2].public) == 2
    assert not chain.pool.has_txs()


@pytest.mark.parametrize("nonces", [(2,), (1, 3), (2, 1), (1, 1), (0,), (1, 2, 2)])
def test_a_block_with_a_gap_a_repeat_or_another_order_is_refused(chain: Chain, nonces: tuple[int, ...]) -> None:
    block = make_block(chain, PEERS[0], GENESIS.network, 0, 1000, ())

    def holds(*txs: bytes) -> bool:
        header = replace(block.header, tx_root=tx_root(txs, None, ()))
        return chain.validate(replace(block, header=header, txs=txs))

    assert holds(*(batch(PEERS[0], nonce) for nonce in range(1, 4)))
    assert not holds(*(batch(PEERS[0], nonce, at) for at, nonce in enumerate(nonces)))
