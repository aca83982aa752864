"""A full registry of participants: one that is evicted in a block is removed at that block's end, and no order of a
block's content stops the chain."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2p.base.codec import encode
from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key, digest
from p2p.base.types import (
    VERSION,
    Batch,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    PlantCommit,
    Record,
    RecordKind,
    Request,
    SignedBatch,
    SignedFinish,
    SignedRequest,
    StackClass,
    StartRecord,
)
from p2p.chain.chain import Chain
from p2p.ledger.genesis import check_conservation
from p2p.ledger.money import collateral
from p2p.ledger.participants import places, registry
from p2p.ledger.rules.ops import (
    Body,
    Deposit,
    Register,
    Rotate,
    SignedOp,
    Unregister,
    Withdraw,
    consent,
    consent_to_rotate,
    sign_op,
)
from p2p.ledger.transactions import pack_operation
from tests.chains import extend

PEERS = [Key(bytes([number]) * 32) for number in range(1, 4)]
NODES = [Key(bytes([number]) * 32) for number in range(0x41, 0x49)]
OWNERS = [Key(bytes([number]) * 32) for number in range(0x21, 0x23)]
FULL = 5  # the three of the genesis file and two more
GENESIS = Genesis(
    VERSION, "n", 1000, tuple(GenesisPeer(key.public, OWNERS[0].public, 10, ("toy",)) for key in PEERS),
    tuple(GenesisAccount(key.public, 10**7) for key in OWNERS),
    (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 1, 2048),),
    epoch_blocks=7,
)
NETWORK = GENESIS.network


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setattr(places, "MAX_PARTICIPANTS", FULL)
    opened = Chain.open(tmp_path, GENESIS)
    yield opened
    opened.close()


def grow(chain: Chain) -> None:
    extend(chain, chain.height() + 1, {key.public: key for key in PEERS}, lambda height: 1000 + 1000 * height)


def output(key: Key, number: int) -> Record:
    """An output record that waits for a Start which never comes: applied, and without a receipt."""
    return Record(
        RecordKind.OUTPUT, encode(OutputRecord(digest(b"full", key.public, bytes([number])), key.public, bytes(32), 1))
    )


def batch(key: Key, nonce: int, *records: Record) -> bytes:
    body = Batch(VERSION, NETWORK, key.public, nonce, records)
    return encode(SignedBatch(body, key.sign(Domain.TX, NETWORK, encode(body))))


def registration(owner: Key, node: Key) -> Register:
    return Register(node.public, ("toy",), (), 0, "", node.sign(Domain.NODE, NETWORK, consent(owner.public)))


def rotation(owner: Key, node: Key, new: Key) -> Rotate:
    words = consent_to_rotate(owner.public, node.public, new.public)
    return Rotate(
        node.public, new.public, node.sign(Domain.NODE, NETWORK, words), new.sign(Domain.NODE, NETWORK, words)
    )


def transaction(owner: Key, nonce: int, body: Body) -> bytes:
    return pack_operation(sign_op(owner, NETWORK, nonce, body))


def fill(chain: Chain) -> None:
    """NODES[0], the first to be evicted, and NODES[1] take the places that are left."""
    for number in (0, 1):
        chain.pool.add(transaction(OWNERS[0], number + 1, registration(OWNERS[0], NODES[number])))
        grow(chain)


def test_a_batch_of_a_node_evicted_in_the_same_block_is_applied_before_it_goes(chain: Chain) -> None:
    fill(chain)
    goes, comes = NODES[0], NODES[2]
    before = chain.state.view().account(OWNERS[0].public).balance_micro
    chain.pool.add(transaction(OWNERS[1], 1, registration(OWNERS[1], comes)))
    chain.pool.add(batch(goes, 1, output(goes, 1)))
    grow(chain)
    assert chain.blocks.receipts(chain.height()) == ()
    assert (chain.reader.is_registered(goes.public), chain.reader.is_registered(comes.public)) == (False, True)
    assert chain.state.view().account(OWNERS[0].public).balance_micro == before
    held = collateral.held(chain.state.view(), goes.public)
    assert held is not None, "its bond is held as long as after UNREGISTER"
    assert held.amount_micro == GENESIS.economy.registration_bond_micro
    grow(chain)


def test_a_record_that_costs_its_own_sender_the_place_leaves_the_rest_of_its_batch(chain: Chain) -> None:
    fill(chain)
    goes, comes = NODES[0], NODES[2]
    operation_in_batch = Record(RecordKind.OP, encode(sign_op(OWNERS[1], NETWORK, 1, registration(OWNERS[1], comes))))
    plant = Record(RecordKind.PLANT_COMMIT, encode(PlantCommit(goes.public, bytes(32))))
    chain.pool.add(batch(goes, 1, operation_in_batch, output(goes, 1), plant))
    grow(chain)
    assert chain.blocks.receipts(chain.height()) == ()
    assert not chain.reader.is_registered(goes.public)


def test_no_more_are_registered_than_can_be_evicted(chain: Chain) -> None:
    fill(chain)
    for number in range(2, 8):
        chain.pool.add(transaction(OWNERS[number % 2], 10 + number, registration(OWNERS[number % 2], NODES[number])))
    grow(chain)
    assert len(chain.state.view().participants()) == FULL
    assert {key.public for key in PEERS} < {one.node for one in chain.state.view().participants()}


def test_a_sender_removed_within_the_block_loses_its_batch_and_the_chain_continues(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rule removes a sender within a block; this one is made up."""
    fill(chain)
    goes, comes = NODES[0], NODES[2]
    monkeypatch.setattr(places, "check_room", lambda ctx: registry._remove(ctx.view, places.first_to_go(ctx, 1)[0]))
    chain.pool.add(transaction(OWNERS[1], 1, registration(OWNERS[1], comes)))
    chain.pool.add(batch(goes, 1, output(goes, 1)))
    grow(chain)
    assert [(one.sender, one.code) for one in chain.blocks.receipts(chain.height())] == [(goes.public, "sender_gone")]
    assert chain.reader.is_registered(comes.public)
    grow(chain)


@pytest.mark.parametrize("seed", range(12))
def test_random_blocks_with_a_registry_that_is_nearly_full_never_stop_the_chain(
    chain: Chain, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Account transactions and batches in any order that a block may have, and records about inferences whose agent, or
    whose client's node, may be gone by then."""
    rng, started = random.Random(seed), list[SignedRequest]()
    evicted, ends = 0, set[str]()
    for _ in range(40):
        txs = _random_txs(chain, rng, started)
        before = {one.node for one in chain.state.view().participants()}
        monkeypatch.setattr(chain, "prepare", _proposes(chain, txs))
        grow(chain)
        now = [one.node for one in chain.state.view().participants()]
        assert now == chain.state.view().ids(b"parts")
        assert len(now) <= FULL
        assert check_conservation(chain.state.view(), [key.public for key in OWNERS])
        assert all(one.code != "sender_gone" for one in chain.blocks.receipts(chain.height()))
        evicted += len(before - set(now))
        found = (chain.state.view().inference(signed.inference_id) for signed in started)
        ends |= {one.status for one in found if one is not None}
    assert evicted, "nobody was ever evicted: the test shows nothing"
    assert {"STARTED", "FINISHED"} < ends, "no inference was ever started, or none ended"


def _proposes(chain: Chain, txs: list[bytes]) -> Callable[[int], tuple[bytes, ...]]:
    return lambda max_bytes: tuple(chain.pool.acceptable(txs))


def _random_txs(chain: Chain, rng: random.Random, started: list[SignedRequest]) -> list[bytes]:
    """Transactions in an order that only a block's own rules restrict. started: all requests so far that were put into
    a batch; more are added."""
    nonces = {owner.public: chain.state.view().account(owner.public).nonce_high for owner in OWNERS}
    found = []

    def signed(owner: Key) -> SignedOp:
        node, other = rng.sample(NODES, 2)
        one: Body = rng.choice([
            lambda: registration(owner, node), lambda: registration(owner, node), lambda: registration(owner, node),
            lambda: Unregister(node.public), lambda: rotation(owner, node, other), lambda: Deposit(node.public, 5),
            lambda: Withdraw(node.public, 5),
        ])()
        nonces[owner.public] += 1
        return sign_op(owner, NETWORK, nonces[owner.public], one)

    for _ in range(rng.randint(0, 4)):
        found.append(pack_operation(signed(rng.choice(OWNERS))))
    for key in rng.sample([*PEERS, *NODES], 6):
        first = chain.reader.batch_nonce(key.public) + 1
        for nonce in range(first, first + rng.randint(1, 2)):
            records = [
                output(key, rng.randrange(200)), Record(RecordKind.OP, encode(signed(rng.choice(OWNERS)))),
                *_of_started(chain, key, started)
            ]
            if chain.height() and rng.random() < 0.3:
                records.append(_start(chain, key, rng.choice(OWNERS), nonces, started))
            found.append(batch(key, nonce, *rng.sample(records, min(len(records), rng.randint(1, 4)))))
    rng.shuffle(found)
    return found


def _start(chain: Chain, agent: Key, owner: Key, nonces: dict[bytes, int], started: list[SignedRequest]) -> Record:
    nonces[owner.public] += 1
    height = chain.height()
    request = Request(
        VERSION, NETWORK, owner.public, nonces[owner.public], "toy", bytes(32), Params(), 50, 50, 100, height + 4,
        owner.public, height,
    )
    started.append(SignedRequest(request, owner.sign(Domain.REQUEST, NETWORK, encode(request))))
    return Record(RecordKind.START, encode(StartRecord(started[-1], agent.public)))


def _of_started(chain: Chain, key: Key, started: list[SignedRequest]) -> list[Record]:
    """Records that `key` may send about running inferences: as the executor drawn first or as the agent, even when it
    is not registered any more."""
    view, found = chain.state.view(), list[Record]()
    for signed in started[-20:]:
        one = view.inference(signed.inference_id)
        if one is not None and key.public in one.candidates:
            finish = FinishRecord(
                signed.inference_id, key.public, bytes(32), bytes(32), 20, 10, FinishReason.STOP,
                StackClass.CPU_BF16.value
            )
            signed_finish = SignedFinish(finish, key.sign(Domain.FINISH, NETWORK, encode(finish)))
            found.append(Record(RecordKind.FINISH, encode(signed_finish)))
        if one is not None and key.public == one.agent:
            found.append(
                Record(RecordKind.OUTPUT, encode(OutputRecord(signed.inference_id, key.public, bytes(32), 10)))
            )
    return found
