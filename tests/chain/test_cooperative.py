"""A block with many inferences is checked and applied in steps, between which other tasks run; meanwhile they see the
complete state of the height before. Real chain, driver and engine. The clock is a fake that makes every step long
enough to pause after it, so the tests count pauses and time nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis, GenesisAccount
from p2p.base.keys import Domain, Key, verify
from p2p.base.resumable import Resumable, run_to_end
from p2p.base.types import SignedBatch
from p2p.chain.chain import Chain
from p2p.consensus import cooperative
from p2p.consensus.cooperative import run_cooperatively
from p2p.consensus.driver import Driver
from p2p.consensus.engine import ConsensusEngine
from p2p.consensus.events import Commit
from p2p.consensus.header import make_block
from p2p.consensus.messages import Block, CommitCertificate, Proposal, SignedProposal
from p2p.consensus.timing import Timing
from p2p.consensus.validators import ValidatorSet, load_priorities, proposer
from p2p.ledger.state import tree
from p2p.ledger.state.proofs import implied_root
from p2p.peer.outbox import Outbox
from p2p.store.batch import Batch
from p2p.store.lmdb import WALK_ROWS
from testnet.big_block import CLIENTS, Load, client_key
from testnet.generate import CLIENT_BALANCE_MICRO, Plan, generate
from tests.chains import extend, next_priorities

INFERENCES = 40
RECORDS = 3 * INFERENCES
STRANGER = Key(b"\x77" * 32)


@pytest.fixture
def pause_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(cooperative, "perf_counter", lambda: float(next(ticks)))


class Scene:
    """source: stands at height 2, whose block holds all inferences. late: stands at height 1, and is to follow."""

    def __init__(self, folder: Path, epoch_blocks: int = 100) -> None:
        accounts = tuple(GenesisAccount(client_key(number).public, CLIENT_BALANCE_MICRO) for number in range(CLIENTS))
        self.folders = generate(Plan(folder, 4, accounts=accounts))
        genesis = unpack(Genesis, (self.folders[0] / "genesis.cbor").read_bytes())
        for at in self.folders:
            (at / "genesis.cbor").write_bytes(encode(replace(genesis, epoch_blocks=epoch_blocks)))
        self.load = Load(self.folders)
        self.source, self.late = (Chain.open(at, self.load.genesis) for at in self.folders[:2])
        extend(self.source, 1, self.load.keys, self._time_ms)
        self.late.finalize(*self.block(1), next_priorities(self.late))
        self.txs: list[bytes] = []
        for public, records in self.load.inferences(INFERENCES, 1, self.source.beacon()).items():
            outbox = Outbox(self.load.keys[public], self.load.genesis.network)
            for record in records:
                outbox.put_record(record)
            self.txs += outbox.due(0, 1)
        for raw in self.txs:
            self.source.pool.add(raw)
        extend(self.source, 2, self.load.keys, self._time_ms)
        assert set(self.block(2)[0].txs) == set(self.txs)
        assert self.source.blocks.receipts(2) == ()

    def _time_ms(self, height: int) -> int:
        return self.load.genesis.time_ms + height

    def block(self, height: int) -> tuple[Block, CommitCertificate]:
        found = self.source.blocks.block(height)
        assert found is not None
        return found

    def driver(self, chain: Chain, key: Key = STRANGER) -> Driver:
        network = self.load.genesis.network
        driver = Driver(
            key=key, network=network, app=chain, guard=chain.guard, timing=Timing(), clock=lambda: self._time_ms(9)
        )
        driver.begin()
        return driver

    def proposal(self) -> SignedProposal:
        """The valid proposal of height 3 by its proposer, as of height 2: one batch of each peer."""
        members = ValidatorSet.of(self.late.validators())
        key = self.load.keys[proposer(members, load_priorities(self.late.priorities(), members), 0)]
        for raw in self.txs:
            self.late.pool.add(raw)
        block = make_block(self.late, key, self.load.genesis.network, 0, self._time_ms(2), ())
        body = Proposal(self.load.genesis.network, 2, 0, block.block_id, -1, key.public)
        return SignedProposal(body, key.sign(Domain.PROPOSAL, body.network, encode(body)), block, None)

    def reopen(self) -> None:
        self.late.close()
        self.late = Chain.open(self.folders[1], self.load.genesis)

    def close(self) -> None:
        self.source.close()
        self.late.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


@dataclass
class Bystander:
    """Another task of the peer: takes each turn it gets, and looks at the chain as an agent or a query does."""

    scene: Scene
    turns: dict[int, int] = field(default_factory=dict)  # height that it saw -> turns

    async def run(self) -> None:
        chain, node = self.scene.late, next(iter(self.scene.load.keys))
        whole = {1: 0, 2: self.scene.source.reader.batch_nonce(node)}
        while True:
            await trio.lowlevel.checkpoint()
            height = chain.height()
            self.turns[height] = self.turns.get(height, 0) + 1
            value, proof = chain.state.prove(b"part/" + node)
            root = implied_root(b"part/" + node, value, proof)
            assert root is not None
            assert tree.app_hash(root) == chain.app_hash(), "state, tree and app hash are of one height"
            assert chain.reader.batch_nonce(node) == whole[height]
            assert (chain.blocks.block(2) is not None) == (height == 2)


def engine_of(scene: Scene) -> ConsensusEngine:
    async def publish(topic: str, data: bytes) -> None:
        raise AssertionError("a stranger says nothing")

    return ConsensusEngine(
        key=STRANGER, network=scene.load.genesis.network, app=scene.late, guard=scene.late.guard, publish=publish,
        timing=Timing(),
        clock=lambda: scene.load.genesis.time_ms,
    )


async def turns_while_applying(scene: Scene) -> int:
    """How often the bystander ran from when the engine was given block 2 until it was applied."""
    bystander = Bystander(scene)
    async with trio.open_nursery() as nursery:
        engine = engine_of(scene)
        nursery.start_soon(engine.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(bystander.run)
        assert await engine.inject_commit(*scene.block(2))
        nursery.cancel_scope.cancel()
    assert scene.late.app_hash() == scene.source.app_hash()
    return bystander.turns.get(1, 0)


async def test_other_tasks_run_after_every_batch_record_and_changed_key(
    pause_after_every_step: None, scene: Scene
) -> None:
    changed = 3 * INFERENCES  # at least: inferences, accounts, and the indexes of both
    assert await turns_while_applying(scene) >= len(scene.txs) + RECORDS + changed


async def test_without_pauses_they_do_not_run(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """So the test above does count the pauses."""
    monkeypatch.setattr(cooperative, "perf_counter", lambda: 0.0)  # no time passes, so no step is long
    assert await turns_while_applying(scene) < 10


async def test_input_that_comes_while_a_block_is_applied_waits_in_order(
    pause_after_every_step: None, scene: Scene
) -> None:
    seen: list[tuple[str, int]] = []
    async with trio.open_nursery() as nursery:
        engine = engine_of(scene)
        nursery.start_soon(engine.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(engine.inject_commit, *scene.block(2))
        for _ in range(20):  # meanwhile it is being applied
            await trio.lowlevel.checkpoint()
        assert scene.late.height() == 1
        engine.driver.judge(b"")
        async with trio.open_nursery() as both:
            both.start_soon(engine.reload, lambda: seen.append(("first", scene.late.height())))
            await trio.lowlevel.checkpoint()
            both.start_soon(engine.reload, lambda: seen.append(("second", scene.late.height())))
            await trio.lowlevel.checkpoint()
            assert seen == []
        nursery.cancel_scope.cancel()
    assert seen == [("first", 2), ("second", 2)]


async def test_a_block_may_take_an_hour_to_apply(
    pause_after_every_step: None, scene: Scene, mock_clock: trio.testing.MockClock
) -> None:
    """An hour passes while it is applied: whoever injected it is told that it was applied, not that it was refused."""
    async with trio.open_nursery() as nursery:
        engine = engine_of(scene)
        nursery.start_soon(engine.run)
        await trio.testing.wait_all_tasks_blocked()

        async def an_hour_passes() -> None:
            for _ in range(RECORDS // 2):
                await trio.lowlevel.checkpoint()
            assert scene.late.height() == 1
            mock_clock.jump(3600)

        nursery.start_soon(an_hour_passes)
        assert await engine.inject_commit(*scene.block(2))
        nursery.cancel_scope.cancel()


async def test_a_peer_stopped_while_it_applies_a_block_is_at_the_height_before(
    pause_after_every_step: None, scene: Scene
) -> None:
    before = scene.late.app_hash()
    async with trio.open_nursery() as nursery:
        engine = engine_of(scene)
        nursery.start_soon(engine.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(engine.inject_commit, *scene.block(2))
        for _ in range(RECORDS):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    scene.reopen()
    assert (scene.late.height(), scene.late.app_hash()) == (1, before)
    scene.driver(scene.late).take(Commit(*scene.block(2)))
    assert scene.late.app_hash() == scene.source.app_hash()


class Crash(BaseException):
    """The process ends here."""


def test_a_crash_after_any_step_leaves_the_height_before(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def content() -> dict[str, list[tuple[bytes, bytes]]]:
        return {name: scene.late.store.scan(name) for name in ("state", "tree", "blocks", "meta")}

    def crash(batch: Batch) -> None:
        raise Crash

    before, taken = content(), list[None]()
    driver = scene.driver(scene.late)
    monkeypatch.setattr(scene.late.store, "commit", crash)
    with pytest.raises(Crash):
        taken.extend(driver.take_resumably(Commit(*scene.block(2))))
    total = len(taken)
    assert total >= len(scene.txs) + RECORDS
    for at in (total, total - 1, len(scene.txs) + RECORDS // 2, len(scene.txs), 1):
        scene.reopen()
        assert scene.late.height() == 1
        assert content() == before
        for _ in walked(scene.driver(scene.late).take_resumably(Commit(*scene.block(2))), at):
            pass
    scene.reopen()
    assert content() == before
    scene.driver(scene.late).take(Commit(*scene.block(2)))
    assert scene.late.app_hash() == scene.source.app_hash()


def walked(work: Resumable[object], at_most: int) -> Iterator[None]:
    """The first `at_most` steps of `work`, which is then closed."""
    for _ in range(at_most):
        try:
            next(work)
        except StopIteration:
            return
        yield
    work.close()


def test_a_proposal_is_checked_in_one_step_a_batch(scene: Scene) -> None:
    proposal = scene.proposal()
    driver = scene.driver(scene.late)
    assert sum(1 for _ in walked(driver.take_resumably(proposal), 10**9)) >= len(scene.txs)
    assert driver.machine.validity[proposal.proposal.block_id]


def test_a_signature_is_verified_once_however_often_its_batch_is_looked_at(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def watched(public: bytes, domain: Domain, network: str, body: bytes, signature: bytes) -> bool:
        asked.append(signature)
        return verify(public, domain, network, body, signature)

    monkeypatch.setattr("p2p.ledger.transactions.verify", watched)
    proposal = scene.proposal()
    assert len(asked) == len(scene.txs), "when gossip brings it"
    assert scene.late.validate(proposal.block)
    run_to_end(scene.late.precheck(proposal.block))
    assert len(asked) == len(scene.txs)


def test_false_bytes_never_pass_for_a_batch_that_was_verified(scene: Scene) -> None:
    good = scene.txs[0]
    scene.late.pool.add(good)
    signed = unpack(SignedBatch, good)
    assert scene.late.pool.verified.find(good) == signed
    for bad in (
        replace(signed, signature=bytes(64)),
        replace(signed, batch=replace(signed.batch, records=signed.batch.records[1:]))
    ):
        with pytest.raises(FolkmootError):  # its number is taken: the mempool does not even look at the signature
            scene.late.pool.add(encode(bad))
        assert "not signed" in str(scene.late.pool.open_tx(encode(bad)))
        assert scene.late.pool.verified.find(encode(bad)) is None


def test_work_for_another_block_is_done_again(scene: Scene) -> None:
    """Two blocks of one height: the prepared result of one is never used for the other."""
    (decided, commit), other = scene.block(2), scene.proposal().block
    other = replace(other, txs=other.txs[:1])
    priorities = next_priorities(scene.late)
    run_to_end(scene.late.execute(other, priorities))
    scene.late.finalize(decided, commit, priorities)
    assert scene.late.app_hash() == scene.source.app_hash()


def test_an_epochs_end_is_applied_in_steps_as_well(tmp_path: Path) -> None:
    scene = Scene(tmp_path, epoch_blocks=2)
    rows = len(scene.late.store.scan("state"))
    assert list(scene.late.store.walk("state")) == scene.late.store.scan("state")
    assert rows > 2 * WALK_ROWS
    taken = sum(1 for _ in walked(scene.driver(scene.late).take_resumably(Commit(*scene.block(2))), 10**9))
    assert scene.late.app_hash() == scene.source.app_hash()
    assert taken >= len(scene.txs) + RECORDS + rows
    scene.close()


async def test_a_cancelled_task_leaves_no_work_behind() -> None:
    """A cancelled task leaves no resumable work behind that could continue."""
    ended: list[bool] = []

    def work() -> Resumable[None]:
        try:
            while True:
                yield
        finally:
            ended.append(True)

    with trio.CancelScope() as scope:
        scope.cancel()
        await run_cooperatively(work(), slice_s=0.0)
    assert ended == [True]
