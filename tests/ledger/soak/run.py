"""One random run: blocks until enough records are decided, then the same blocks again on other stores.

Law: everything follows from the seed. A fault raises a Violation; it is never only printed.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError
from p2p.base.keys import Domain
from p2p.base.types import RecordKind, SignedBatch
from p2p.consensus.certificates import commit_certificate
from p2p.consensus.header import make_block
from p2p.consensus.messages import Block, Vote, VoteType, sign_vote
from p2p.consensus.validators import ValidatorSet, load_priorities, proposer
from p2p.ledger.rules.ops import SignedOp
from tests.chains import next_priorities
from tests.ledger.soak import account_transactions, wrong
from tests.ledger.soak.lives import Lives
from tests.ledger.soak.people import People
from tests.ledger.soak.replay import from_snapshot, replay_in_process
from tests.ledger.soak.scene import EITHER, Item, Scene
from tests.ledger.soak.sprints import Sprints
from tests.ledger.soak.watch import Violation, Watch, open_watched

STARTS = 24  # of inferences in a block; with all that follows, about as many records as a block holds
REMEMBERED = 400


@dataclass
class Tally:
    """What a run did."""

    records: int = 0
    heights: int = 0
    epochs: int = 0
    applied: Counter[str] = field(default_factory=Counter)  # by kind; account transactions by the kind of operation
    refused: Counter[str] = field(default_factory=Counter)  # by kind and field
    batches_refused: Counter[str] = field(default_factory=Counter)  # by field
    statuses: Counter[str] = field(default_factory=Counter)  # of inferences that ended
    wrong: Counter[str] = field(default_factory=Counter)  # records that are wrong on purpose, by name
    meant: int = 0  # records that are meant well
    meant_refused: Counter[str] = field(default_factory=Counter)  # those of them that were refused, by kind and field
    compared: int = 0  # refused records after which all bytes of the state were compared
    app_hash: str = ""


class Run:
    def __init__(self, seed: int, folder: Path, watch: Watch, starts: int) -> None:
        self.people, self.watch, self.folder, self.starts = People(seed), watch, folder, starts
        self.chain = open_watched(folder / "first", self.people.genesis(), watch)
        self.scene = Scene(self.chain, self.people, random.Random(seed))
        self.lives, self.tally = Lives(self.scene), Tally()
        self.sprints = Sprints(self.scene, self.lives)
        self._taken: deque[tuple[bytes, Item]] = deque(maxlen=REMEMBERED)
        self._singles: dict[bytes, Item] = {}  # sent outside a batch, not decided yet
        self._old: bytes = b""  # the last decided batch

    def block(self) -> None:
        """Make the records of the next block, decide the block, and count what the ledger did with each record."""
        scene, chain = self.scene, self.chain
        scene.begin()
        if chain.height():
            self.lives.advance()
            self.sprints.advance()
            self.lives.begin(self.starts)
            account_transactions.give(scene, self.starts * 5 // 4)
            wrong.give(scene, self.lives, self.sprints, list(self._taken), self.starts * 3)
        self._send_operations()
        made = scene.batches()
        for _, _, raw in made:
            chain.pool.add(raw)
        self._bad_batches(made[0][2] if made else b"")
        block = self._decide()
        assert {*block.txs} - self._singles.keys() == {raw for _, _, raw in made}, "a batch did not fit"
        refused = {(r.sender, r.index): r for r in chain.blocks.receipts(chain.height())}
        for raw in block.txs:
            if raw in self._singles:
                item = self._singles.pop(raw)
                signed = unpack(SignedOp, item.record.body)
                if (fate := chain.pool.fates.find(signed.op_id)) is None or not fate.ended:
                    raise Violation(f"height {chain.height()}: unknown fate of an account transaction: {raw.hex()}")
                self._count(signed.op.account, item, (fate.field or fate.code) if fate.code else None)
        for sender, items, raw in made:
            for at, item in enumerate(items):
                receipt = refused.get((sender, at))
                self._count(sender, item, f"{receipt.field or receipt.code}" if receipt else None)
            self._old = raw
        if chain.height() % chain.genesis.epoch_blocks == 0:
            self.watch.whole(chain)

    def _send_operations(self) -> None:
        """Send account transactions outside batches; the mempool refuses at once what cannot follow those that wait."""
        for item, raw in self.scene.singles():
            try:
                self.chain.pool.add(raw)
            except FolkmootError as error:
                self._count(b"", item, error.field or error.code)
            else:
                self._singles[raw] = item
        self._singles = {raw: item for raw, item in self._singles.items() if self.chain.pool.mempool.known(raw)}

    def _count(self, sender: bytes, item: Item, field_: str | None) -> None:
        tally, kind = self.tally, item.record.kind.name
        tally.records += 1
        tally.meant += not item.wrong
        if item.wrong:
            tally.wrong[item.wrong] += 1
        if field_ is not None:
            tally.refused[f"{kind}.{field_}"] += 1
            if not item.wrong:
                tally.meant_refused[f"{kind}.{field_}"] += 1
            return
        if item.wrong and not item.wrong.startswith(EITHER):
            what = f"a {kind} that is wrong ({item.wrong}) was applied"
            raise Violation(f"height {self.chain.height()}: {what}: {item.record.body.hex()}")
        is_operation = item.record.kind is RecordKind.OP
        tally.applied[f"OP.{unpack(SignedOp, item.record.body).op.kind.name}" if is_operation else kind] += 1
        self._taken.append((sender, item))

    def _bad_batches(self, good: bytes) -> None:
        """Send a batch that no block may hold: the mempool refuses it, and `validate` refuses a block that holds it."""
        scene, chain = self.scene, self.chain
        if not good:
            return
        signed = unpack(SignedBatch, good)
        key, stranger = scene.key(signed.batch.sender), self.people.clients[0]
        later = replace(signed.batch, nonce=signed.batch.nonce + 1)
        bad = {
            "garbage": scene.rng.randbytes(scene.rng.randrange(1, 300)),
            "cut": good[: scene.rng.randrange(1, len(good))],
            "not signed": encode(SignedBatch(later, scene.rng.randbytes(64))),
            "another network": encode(
                SignedBatch(other := replace(later, network="other"), key.sign(Domain.TX, "other", encode(other)))
            ),
            "empty": encode(
                SignedBatch(none := replace(later, records=()), key.sign(Domain.TX, self.scene.network, encode(none)))
            ),
            "stranger": encode(SignedBatch(
                his := replace(later, sender=stranger.public),
                stranger.sign(Domain.TX, self.scene.network, encode(his)),
            )),
        } | ({"again": self._old} if self._old else {})
        name = scene.rng.choice(list(bad))
        try:
            chain.pool.add(bad[name])
        except FolkmootError as error:
            self.tally.batches_refused[error.field] += 1
            self.tally.records += 1
        else:
            raise Violation(
                f"height {chain.height()}: a transaction that is wrong ({name}) was taken: {bad[name].hex()}"
            )
        if scene.chance(100) and chain.validate(replace(self._next(), txs=(good, bad[name]))):
            raise Violation(f"height {chain.height()}: a block with a transaction that is wrong ({name}) was accepted")

    def _next(self) -> Block:
        chain = self.chain
        members = ValidatorSet.of(chain.validators())
        key = self.scene.key(proposer(members, load_priorities(chain.priorities(), members), 0))
        return make_block(chain, key, self.scene.network, 0, chain.last_time_ms() + 1000, ())

    def _decide(self) -> Block:
        chain, block = self.chain, self._next()
        at, names = block.header.height, [name for name, _ in ValidatorSet.of(chain.validators()).members]
        network = self.scene.network
        votes = [
            sign_vote(self.scene.key(name), Vote(network, VoteType.PRECOMMIT, at, 0, block.block_id, -1, name))
            for name in names
        ]
        if not chain.validate(block):
            raise Violation(f"height {at}: the chain does not accept its own block")
        chain.finalize(block, commit_certificate(votes, at, 0, block.block_id), next_priorities(chain))
        return block

    def reopen(self) -> None:
        """Close and open the store, as after a restart of the process."""
        self.chain.close()
        self.scene.chain = self.chain = open_watched(self.folder / "first", self.people.genesis(), self.watch)


def run(seed: int, count: int, folder: Path, progress: Callable[[str], None], starts: int = STARTS) -> Tally:
    """Decide blocks until `count` records are decided, then apply them again in processes with another hash seed.

    First all blocks, then those after the end of an epoch in the middle, on its snapshot. In the middle of the run the
    store is closed and opened. Raises Violation.
    """
    watch = Watch()
    this = Run(seed, folder, watch, starts)
    try:
        joined, step = _first(this, count, folder, progress), this.tally
        step.app_hash, step.heights = this.chain.app_hash().hex(), this.chain.height()
    finally:
        this.chain.close()
    step.epochs, step.statuses, step.compared = watch.epochs, watch.statuses, watch.compared
    wanted = f"{step.heights} {step.app_hash}"
    for name in ("again", *(["joined"] if joined else [])):
        what = "once more" if name == "again" else f"after height {joined}, on its snapshot"
        progress(f"the blocks {what}, in another process")
        found = replay_in_process(folder / "first", folder / name, hash_seed=seed % 4_000_000_000 + 1)
        if found != wanted:
            raise Violation(f"{name}: {found}, the first run came to {wanted}")
        shutil.rmtree(folder / name)
    return step


def _first(this: Run, count: int, folder: Path, progress: Callable[[str], None]) -> int:
    """The run itself. Returns the height of the snapshot taken in the middle; 0 = the run was too short for one."""
    joined, reopened, shown = 0, False, 0
    while this.tally.records < count:
        this.block()
        done, height, epoch = this.tally.records, this.chain.height(), this.chain.genesis.epoch_blocks
        if not joined and done > count // 2 and height > epoch and height % epoch == 1:
            joined = height - 1
            from_snapshot(this.chain, joined, folder / "joined")
        if not reopened and done > count // 3 and height % epoch == epoch // 2:
            reopened = True
            this.reopen()
        if done * 20 // count > shown:
            shown = done * 20 // count
            progress(f"{done} of {count} records, height {height}, {len(this.lives.live)} inferences under way")
    return joined
