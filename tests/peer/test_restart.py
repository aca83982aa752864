"""A peer that stops and comes back loses nothing to itself: others still hold batches of its life before. Real store,
real chains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from p2p.base.codec import decode, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.genesis import Genesis, GenesisAccount
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_RECORDS_PER_TX
from p2p.base.types import OutputRecord, RecordKind, SignedBatch
from p2p.chain.chain import Chain
from p2p.ledger.rules.ops import Rotate, Transfer, consent_to_rotate, sign_op
from p2p.ledger.transactions import pack_operation
from p2p.peer.config import load_config
from p2p.peer.node import Node
from testnet.generate import Plan, generate
from tests.chains import extend, next_priorities

RICH = Key(b"\x09" * 32)


class Net:
    """A peer that is started again and again, and another that keeps running."""

    def __init__(self, folder: Path) -> None:
        self.folders = generate(Plan(folder, 4, accounts=(GenesisAccount(RICH.public, 10_000),)))
        self.genesis = unpack(Genesis, (self.folders[0] / "genesis.cbor").read_bytes())
        self.keys = {key.public: key for key in (Key.load(at / "node.key") for at in self.folders)}
        self.other = Chain.open(self.folders[1], self.genesis)

    async def live(self, *words: int, behind: bool = False) -> list[bytes]:
        """One life: it wants to say these words, sends what it may, and is killed. What others have heard. behind: sync
        brings no block."""
        node = Node(load_config(self.folders[0]), self.genesis, lambda state, text: None)
        while not behind and node.chain.height() < self.other.height():
            found = self.other.blocks.block(node.chain.height() + 1)
            assert found is not None
            node.chain.finalize(*found, next_priorities(node.chain))
        for word in words:
            node.outbox.put(RecordKind.OUTPUT, OutputRecord(bytes(32), node.key.public, bytes(32), word))
        heard: list[bytes] = []

        async def publish(topic: str, data: bytes) -> None:
            raw = decode(data)[1]
            assert raw in dict(node.chain.store.scan("meta")).values(), "on disk before it leaves"
            heard.append(raw)

        node.records.publish = publish
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.records.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        node.chain.close()
        for raw in heard:
            # known already, or overtaken; of a key that is no participant
            with suppress(InvalidRequest, RemoteProtocolError):
                self.other.pool.add(raw)
        return heard

    def decide(self) -> None:
        extend(self.other, self.other.height() + 1, self.keys, lambda height: self.genesis.time_ms + height)

    def said(self) -> list[int]:
        """Words on the chain, in order."""
        found = []
        for height in range(1, self.other.height() + 1):
            block = self.other.blocks.block(height)
            assert block is not None
            for raw in block[0].txs:
                found += [
                    unpack(OutputRecord, record.body).output_tokens for record in unpack(SignedBatch, raw).batch.records
                ]
        return found


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    found = Net(tmp_path)
    yield found
    found.other.close()


def nonces(heard: list[bytes]) -> list[int]:
    return [unpack(SignedBatch, raw).batch.nonce for raw in heard]


async def test_what_a_new_life_says_is_not_lost_beside_what_the_old_one_said(net: Net) -> None:
    first = await net.live(1)
    second = await net.live(2)
    assert second[: len(first)] == first, "the same bytes again"
    assert nonces(second) == [1, 2]
    net.decide()
    assert net.said() == [1, 2]
    assert nonces(await net.live(3)) == [3], "what the chain has is not sent again"
    net.decide()
    assert net.said() == [1, 2, 3]


async def test_a_whole_load_goes_on_where_it_was(net: Net) -> None:
    words = list(range(1, 3 * MAX_RECORDS_PER_TX + 1))
    await net.live(*words)
    await net.live(9_000_000)
    net.decide()
    assert net.said() == [*words, 9_000_000]


async def test_a_number_that_was_decided_while_the_peer_was_away_is_not_used_again(net: Net) -> None:
    """It comes back knowing less than its batches' fate: its own store still says that they left."""
    await net.live(1)
    net.decide()
    assert nonces(await net.live(2, behind=True)) == [1, 2]
    net.decide()
    assert net.said() == [1, 2]


async def test_only_what_may_still_be_on_its_way_is_kept(net: Net) -> None:
    for word in range(1, 5):
        await net.live(word)
        net.decide()
    node = Node(load_config(net.folders[0]), net.genesis, lambda state, text: None)
    assert list(node.records.sent.load(node.key.public)) == [4]
    node.chain.close()


async def test_a_peer_with_another_key_does_not_wait_for_what_the_old_one_signed(net: Net) -> None:
    """ROTATE: the participant continues under a new key, and so do its nonces; a block takes nothing of the old key any
    more."""
    old_key, owner, new = (
        Key.load(net.folders[0] / "node.key"), Key.load(net.folders[0] / "account.key"), Key.generate()
    )
    old = await net.live(1)
    (net.folders[0] / "node.key").unlink()
    new.save(net.folders[0] / "node.key")
    assert await net.live(2) == [], "a key that is not registered sends nothing"
    words = consent_to_rotate(owner.public, old_key.public, new.public)
    network = net.genesis.network
    net.other.pool.add(pack_operation(sign_op(RICH, network, 1, Transfer(owner.public, 5_000))))  # the key's fee
    net.decide()
    rotate = Rotate(old_key.public, new.public, *(key.sign(Domain.NODE, network, words) for key in (old_key, new)))
    net.other.pool.add(pack_operation(sign_op(owner, network, 1, rotate)))
    net.decide()
    second = await net.live(2)
    assert nonces(second) == [2], "after the old key's, which the same block took"
    assert [unpack(SignedBatch, raw).batch.sender for raw in second] == [new.public]
    assert old != second
