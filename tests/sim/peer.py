"""One simulated peer: the real driver, ledger and store; the world instead of time and libp2p. Law: what it signed
is on disk first."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError, StorageError
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.limits import MAX_BUNDLE
from p2p.base.outcome import Outcome
from p2p.chain.chain import Chain
from p2p.chain.stores.guard import GuardStore
from p2p.consensus import wire
from p2p.consensus.driver import Driver
from p2p.consensus.events import Broadcast, Commit, Committed, Input, Output, SetTimer
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal
from p2p.consensus.proposal_relay import Judged
from p2p.consensus.relays import Pace
from p2p.consensus.timing import Timing
from p2p.consensus.vote_exchange import VoteExchange
from p2p.consensus.vote_frames import PROPOSED_HEAD, Bundle, Proposed, pack
from p2p.consensus.vote_neighbours import MESH
from p2p.store.batch import Batch
from p2p.store.lmdb import Store
from tests.sim.sync import SyncClient, answer
from tests.sim.world import EPOCH_MS, World

TIMING = Timing(
    propose_ms=600, vote_ms=300, delta_ms=200, block_interval_ms=50, empty_block_interval_ms=200, rebroadcast_ms=500,
    precision_ms=100,
    delay_ms=1500,
)
SYNC_EVERY_MS = 700


class Crash(BaseException):
    """The simulated process ends here."""


@dataclass(slots=True)
class WriteFault:
    """At write number `at`: 'before' (die, nothing written), 'after' (die, written), 'full' (the disk refuses)."""

    at: int = -1
    kind: str = "before"


class FaultyStore(Store):
    """The real store, that may die or refuse at one numbered write."""

    def __init__(self, path: Path, fault: WriteFault | None) -> None:
        self.fault, self.writes = fault, 0
        try:
            super().__init__(path)
        except Crash:  # in its very first write: the process is gone, and with it the lock
            self.close()
            raise

    def commit(self, batch: Batch) -> None:
        self.writes += 1
        fault = self.fault
        if fault is None or fault.at != self.writes:
            super().commit(batch)
            return
        self.fault = None
        if fault.kind == "full":
            raise StorageError("no space left (simulated)", field="store", code="disk_full")
        if fault.kind == "after":
            super().commit(batch)
        raise Crash


class WatchedChain(Chain):
    """The real chain; tells the checks about each block right after it is on disk."""

    watcher: Callable[[Block, CommitCertificate], None] = staticmethod(lambda block, commit: None)

    def finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        super().finalize(block, commit, priorities)
        self.watcher(block, commit)


class Peer:
    """number: its place in the world. send(peer, to, topic, data): may be replaced by a villain. hooks: what checks
    watch."""

    timing = TIMING
    pace: Pace | None = None  # of the exchange of votes; None: votes are broadcast as by gossip

    def __init__(
        self, world: World, number: int, key: Key, genesis: Genesis, directory: Path, *, skew_ms: int = 0
    ) -> None:
        self.world, self.number, self.key, self.genesis, self.directory = world, number, key, genesis, directory
        self.skew_ms, self.drift_ppm = skew_ms, 0
        self.slow_ms = 0  # a slow disk: everything this peer says comes later
        self.others: list[Peer] = []
        self.exchange: VoteExchange | None = None
        self.alive = False
        self.life = 0
        self.lifetime_writes = 0
        self.next_fault: WriteFault | None = None
        self.restart_ms: Callable[[], int] = lambda: 500
        self.on_say: Callable[[Peer, Broadcast], None] = lambda peer, say: None
        self.on_committed: Callable[[Peer, Block, CommitCertificate], None] = lambda peer, block, commit: None
        self.on_heard: Callable[[Peer, wire.Wire], None] = lambda peer, message: None
        self.on_restart: Callable[[Peer], None] = lambda peer: None
        self.on_blame: Callable[[Peer, int, str], None] = lambda peer, source, why: None
        self.on_crash: Callable[[Peer], None] = lambda peer: None
        self.on_frame: Callable[[Peer, int, bytes], None] = lambda peer, to, data: None

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the store, replay the log, take part."""
        self.directory.mkdir(parents=True, exist_ok=True)
        fault, self.next_fault = self.next_fault, None
        try:
            store = FaultyStore(self.directory / "data", fault)
        except (Crash, StorageError):  # in the store's own first write
            self.world.at(self.restart_ms(), self.start)
            return
        try:
            self.chain = WatchedChain(store, GuardStore(store, self.directory / "node.key.used"), self.genesis)
        except (Crash, StorageError):
            store.close()
            self.world.at(self.restart_ms(), self.start)
            return
        self.chain.watcher = lambda block, commit: self.on_committed(self, block, commit)
        self.store = store
        self.alive = True
        self.life += 1
        self.on_restart(self)
        self.driver = Driver(
            key=self.key, network=self.genesis.network, app=self.chain, guard=self.chain.guard, timing=self.timing,
            clock=lambda: self.clock_ms(), has_txs=self.chain.pool.has_txs,
        )
        self.sync = SyncClient(self)
        self.exchange = VoteExchange(self.driver, self.pace, self._judge_proposal) if self.pace is not None else None
        self._wake_ms = -1
        self._connect()
        self.world.note(f"{self.number} starts at height {self.chain.height()}")
        self._guarded(self.driver.begin)
        self.later(SYNC_EVERY_MS, self.sync.visit)

    def _connect(self) -> None:
        """Streams to all that are there: each side may send from now on."""
        for other in self.others:
            if self.exchange is not None and other.alive and other.exchange is not None:
                self.exchange.up(str(other.number), other.key.public, self.world.now)
                other.exchange.up(str(self.number), self.key.public, self.world.now)

    def stop(self) -> None:
        if self.alive:
            self.alive = False
            for other in self.others:
                if other.alive and other.exchange is not None:
                    other.exchange.down(str(self.number))
            self.lifetime_writes += self.store.writes
            self.chain.close()

    def writes(self) -> int:
        """Durable writes in all lives so far."""
        return self.lifetime_writes + (self.store.writes if self.alive else 0)

    def crash(self, why: str) -> None:
        """Lose everything that is not on disk; come back later."""
        if not self.alive:
            return
        self.world.note(f"{self.number} {why}")
        self.on_crash(self)
        self.stop()
        self.world.at(self.restart_ms(), self.start)

    def erase(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Run `action` later, unless this life has ended by then."""
        life = self.life
        self.world.at(delay_ms, lambda: action() if self.alive and self.life == life else None)

    def clock_ms(self) -> int:
        """The time by this peer's clock."""
        return EPOCH_MS + self.world.now + self.skew_ms + self.world.now * self.drift_ppm // 10**6

    # -- inputs ---------------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], list[Output]]) -> None:
        try:
            self._carry_out(step())
        except Crash:
            self.crash("crashes in a write")
        except StorageError as error:
            self.crash(f"halts: {error.message}")

    def take(self, event: Input) -> None:
        self._guarded(lambda: self.driver.take(event))
        self.pump()

    def pump(self) -> None:
        """Send what the exchange has due, and wake when more will be."""
        if not self.alive or self.exchange is None:
            return
        now = self.world.now
        for name in self.exchange.advance(now):
            frame = self.exchange.frame(name, now)
            if frame is not None:
                self.transmit(name, frame)
        due = self.exchange.due_ms()
        if due is not None and not now < self._wake_ms <= due:
            self._wake_ms = max(due, now + 1)
            self.later(self._wake_ms - now, self.pump)

    def transmit(self, name: str, frame: bytes) -> None:
        """Send a frame to one neighbour, or over the mesh to all."""
        for other in self.others:
            if name in (MESH, str(other.number)):
                self.on_frame(self, other.number, frame)
                self.send(other, "mesh" if name == MESH else "frames", frame)

    def _exchange(self, source: str, data: bytes) -> None:
        """Take a frame of the exchange."""
        life = self.life
        assert self.exchange is not None
        try:
            for message in self.exchange.receive(source, data, self.world.now):
                if message is not None:
                    self.on_heard(self, message)
                    self.take(message)
                if not self.alive or self.life != life:
                    return
        except RemoteProtocolError as error:
            self.on_blame(self, int(source or -1), str(error))
        self.pump()

    def _judge_proposal(self, source: str, data: bytes) -> Judged:
        """A proposal that came by a stream: whole, as between simulated peers."""
        outcome, message = self.driver.judge(data)
        with contextlib.suppress(RemoteProtocolError):
            said = wire.parse(data)
            if isinstance(said, SignedProposal):
                return outcome, said.proposal, message
        return Outcome.REJECT, None, None

    def receive(self, source: int, topic: str, data: bytes) -> None:
        """Gossip."""
        if not self.alive:
            return
        if topic == "transactions":
            try:
                self.chain.pool.add(data)
            except FolkmootError:
                return
            return
        if topic in ("frames", "mesh"):
            self._exchange(str(source) if topic == "frames" else MESH, data)
            return
        _, message = self.driver.judge(data)
        if message is not None:
            self.on_heard(self, message)
            self.take(message)

    def commit(self, event: Commit) -> bool:
        """Take a block from sync; True when our height grew."""
        before = self.chain.height()
        self.take(event)
        return self.alive and self.chain.height() > before

    # -- outputs --------------------------------------------------------------------------------------------------

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Broadcast():
                    self.on_say(self, output)
                    self.broadcast(output)
                case SetTimer():
                    event = output.event
                    self.later(output.delay_ms, lambda event=event: self.take(event))  # type: ignore[misc]
                case Committed():
                    pass  # seen by WatchedChain

    def broadcast(self, say: Broadcast) -> None:
        if self.exchange is not None and say.topic == "votes":
            self.exchange.broadcast(say.data, self.world.now)
            return
        if self.exchange is not None and say.topic == "proposals":
            said = wire.parse(say.data)
            assert isinstance(said, SignedProposal)
            if self.exchange.propose(said.proposal, say.data, self.world.now):
                return
        for other in self.others:
            self.leave(other, say.topic, say.data)

    def send(self, other: Peer, topic: str, data: bytes) -> None:
        """What a villain says to one peer, too: votes and proposals in frames, where there are streams."""
        if topic == "votes" and self.exchange is not None:
            mesh = self.exchange.is_mesh()
            topic, data = "mesh" if mesh else "frames", as_frame(data, self.world.rng.getrandbits(16) if mesh else 0)
        elif topic == "proposals" and self._has_streams() and len(data) + PROPOSED_HEAD <= MAX_BUNDLE:
            topic, data = "frames", encode(Proposed(data))
        self.leave(other, topic, data)

    def _has_streams(self) -> bool:
        return self.exchange is not None and not self.exchange.is_mesh()

    def leave(self, other: Peer, topic: str, data: bytes) -> None:
        """Send as it is."""

        def leave() -> None:
            self.world.send(self.number, other.number, len(data), lambda: other.receive(self.number, topic, data))

        if self.slow_ms:
            self.world.at(self.slow_ms, leave)
        else:
            leave()

    def answer(self, request: bytes) -> bytes:
        """Serve sync; a liar replaces this."""
        return answer(self.chain, request)


def as_frame(data: bytes, again: int) -> bytes:
    """A frame with one message, as it was packed for gossip; of what does not parse the very bytes."""
    with contextlib.suppress(RemoteProtocolError):
        data = pack(wire.parse(data))
    return encode(Bundle(again, (data,)))
