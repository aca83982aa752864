"""The shell around the driver: time, the queue, the network. Law: one task owns the driver; a write error halts the
peer.

Checking and applying a block pauses often and lets other tasks run (cooperative.py); messages that arrive meanwhile
wait in the queue. The driver takes and gives whole proposals. Between peers they travel compact (compact.py), so the
engine fetches the transactions that are missing before it hands a proposal over. Votes go to the exchange
(vote_exchange.py); whoever has streams to other peers carries its frames.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

import structlog
import trio
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import BODY_TIMEOUT_S
from p2p.base.outcome import Outcome
from p2p.base.resumable import Resumable, run_to_end
from p2p.consensus.application import Application
from p2p.consensus.bodies import Bodies
from p2p.consensus.compact import Assembly, CompactProposal, FindTx, compact, parse
from p2p.consensus.cooperative import run_cooperatively
from p2p.consensus.driver import Driver
from p2p.consensus.events import (
    Broadcast,
    Commit,
    Committed,
    Input,
    Output,
    ProposalArrived,
    Reload,
    SetTimer,
    TransactionsArrived,
)
from p2p.consensus.guard import GuardLog
from p2p.consensus.machine import Machine
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal
from p2p.consensus.proposal_relay import Judged
from p2p.consensus.relays import PACE
from p2p.consensus.status import ConsensusStatus
from p2p.consensus.timing import Timing
from p2p.consensus.vote_exchange import VoteExchange
from p2p.consensus.vote_neighbours import MESH
from p2p.machine.deadlines import fail_after
from p2p.machine.tasks import once

log = structlog.get_logger()

QUEUE = 4096  # inputs that may wait for the driver; a message beyond that is dropped, and comes with a repeat
# (peer, height, block_id, places) -> the transactions at these indices of a block that the peer should have
Fetch = Callable[[str, int, bytes, tuple[int, ...]], Awaitable[tuple[bytes, ...]]]


def now_ms() -> int:
    """The time of the exchange: it never goes back."""
    return int(trio.current_time() * 1000)


async def no_fetch(peer: str, height: int, block_id: bytes, places: tuple[int, ...]) -> tuple[bytes, ...]:
    """A Fetch without a network."""
    raise Unavailable("this engine has no connection to other peers", field="peer")


class ConsensusEngine:
    """Call run() in a task of its own; deliver() and inject_commit() feed it.

    publish(topic, data): broadcast a proposal that streams do not carry. clock: milliseconds since 1970. on_commit:
    called after each block. has_txs: whether transactions are waiting for a block. find_tx: a transaction by its
    leaf hash, when this peer has it. fetch: see Fetch. strain: as in Pacing."""

    def __init__(
        self, *, key: Key, network: NetworkId, app: Application, guard: GuardLog,
        publish: Callable[[str, bytes], Awaitable[None]], timing: Timing, clock: Callable[[], int],
        on_commit: Callable[[Block, CommitCertificate], None] = lambda b, c: None,
        has_txs: Callable[[], bool] = lambda: False, find_tx: FindTx = lambda leaf: None, fetch: Fetch = no_fetch,
        strain: Callable[[], float] = lambda: 1.0,
    ) -> None:
        def begin() -> None:
            self.driver = Driver(
                key=key, network=network, app=app, guard=guard, timing=timing, clock=clock, has_txs=has_txs,
                strain=strain,
            )
            self.bodies = Bodies(self.driver, network, find_tx)
            before, self.exchange = self._neighbours(), VoteExchange(self.driver, PACE, self._offer)
            for peer, public in before:
                self.exchange.up(peer, public, now_ms())

        self._begin, self._ran = begin, False
        self.on_due: Callable[[], None] = lambda: None  # called when the exchange may have something due
        begin()
        self._app, self._publish, self._on_commit, self._fetch = app, publish, on_commit, fetch
        self._nursery: trio.Nursery | None = None
        self.dropped = 0  # messages for which the queue had no place, since the start
        self.fetched = 0  # transactions of proposals that had to be fetched, since the start
        self._send, self._receive = trio.open_memory_channel[tuple[Input, trio.Event | None]](QUEUE)

    def _neighbours(self) -> list[tuple[str, bytes]]:
        """Of the exchange before, when this is not the first."""
        return [(one.peer, one.key) for one in self.exchange.neighbours] if self._ran else []

    def deliver(self, forwarder: str, topic: str, data: bytes) -> Outcome:
        """Take a gossip message that the peer id `forwarder` sent us; what becomes of it. Votes come by gossip only
        where the set is too large for streams."""
        if topic == "proposals":
            return self._offer(forwarder, data)[0]
        if not self.exchange.is_mesh():
            return Outcome.IGNORE
        before = self.exchange.passed
        try:
            run_to_end(self._take_frame(MESH, data))
        except RemoteProtocolError:
            return Outcome.REJECT
        return Outcome.ACCEPT if self.exchange.passed > before else Outcome.IGNORE

    async def hear(self, peer: str, frame: bytes) -> None:
        """Take a frame of votes from a peer. Raises RemoteProtocolError: it is to blame."""
        await run_cooperatively(self._take_frame(peer, frame))

    def _take_frame(self, peer: str, frame: bytes) -> Resumable[None]:
        try:
            for message in self.exchange.receive(peer, frame, now_ms()):
                if message is not None:
                    self._put(message)
                yield
        finally:
            self.on_due()

    def _offer(self, forwarder: str, data: bytes) -> Judged:
        """What becomes of a proposal, and what it is about. What is missing of its block is fetched."""
        try:
            offered = parse(data)
        except RemoteProtocolError:
            return Outcome.REJECT, None, None
        outcome, found = self.bodies.judge_parsed(forwarder, offered)
        if found is not None:
            self._pursue(found)
        return outcome, offered.signed.proposal, None

    def _pursue(self, found: SignedProposal | Assembly) -> None:
        if isinstance(found, SignedProposal):
            self._put(ProposalArrived(found, self.bodies.arrived_ms(found.proposal)))
        elif self._nursery is not None:
            at_ms = self.bodies.arrived_ms(found.proposal)
            self._nursery.start_soon(once, "fetch of a block", self._complete, found, at_ms)
        else:
            self.bodies.done(found.source)  # not running yet; a repeat brings it again

    async def _complete(self, assembly: Assembly, at_ms: int) -> None:
        """Fetch what is missing, from one source after the other, and hand the whole proposal to the driver. A failure
        costs this offer only; a repeat brings another."""
        while not await self._fetch_from(assembly.source, assembly):
            if not self.bodies.choose(assembly):
                return
        self._put(ProposalArrived(assembly.whole(), at_ms))

    async def _fetch_from(self, source: str, assembly: Assembly) -> bool:
        """Fill an assembly; False where that source does not give it."""
        places = assembly.missing
        try:
            with fail_after(BODY_TIMEOUT_S):
                assembly.fill(await self._fetch(source, assembly.height, assembly.block_id, places))
        except RemoteProtocolError as error:
            self.bodies.distrust(source)
            log.warning(
                "a peer gave something else than the block it was asked for",
                peer=source, height=assembly.height, reason=str(error),
            )
        except (FolkmootError, trio.TooSlowError) as error:
            self.bodies.failed(source)
            log.info(
                "a proposed block could not be fetched",
                peer=source, height=assembly.height, missing=len(places), reason=str(error),
            )
        else:
            self.fetched += len(places)
            return True
        finally:
            self.bodies.done(source)
        return False

    def body(self, height: int, block_id: bytes, places: Sequence[int]) -> tuple[bytes, ...] | None:
        """The transactions at some indices of a block that this peer holds; None when it no longer holds that
        block. Each index is given once at most, so an answer is never larger than a block. Raises
        RemoteProtocolError for indices that no honest peer asks for."""
        if any(after <= before for before, after in pairwise(places)):
            raise RemoteProtocolError(
                "places of a block must be in ascending order, each once", field="places", code="shape"
            )
        machine = self._machine_of(height)
        held = machine.proposal_of(block_id) if machine is not None else None
        if held is None:
            return None
        txs = held.block.txs
        if places and places[-1] >= len(txs):
            raise RemoteProtocolError(
                f"that block has {len(txs)} transactions, none at {places[-1]}", field="places", code="shape"
            )
        return tuple(txs[place] for place in places)

    def _machine_of(self, height: int) -> Machine | None:
        """Of this height, or of the last: whoever does not vote hears of a block when it is decided."""
        driver = self.driver
        return {driver.height: driver.machine, driver.height - 1: driver.previous}.get(height)

    def _put(self, event: Input) -> None:
        try:
            self._send.send_nowait((event, None))
        except trio.WouldBlock:
            self.dropped += 1
            log.warning("the consensus queue is full: a message is dropped, a repeat will bring it again")

    async def inject_commit(self, block: Block, certificate: CommitCertificate) -> bool:
        """Take a decided block from sync. True when this peer has decided it now, or had before."""
        if certificate.height != self._app.height() + 1:
            return certificate.height <= self._app.height()
        await self._inject(Commit(block, certificate))
        return self._app.height() >= certificate.height

    async def reload(self, install: Callable[[], None]) -> None:
        """Let `install` replace the application's state by a snapshot, then continue from there."""
        await self._inject(Reload(install))

    async def _inject(self, event: Input) -> None:
        """Wait until the driver has taken an input, without a time limit: applying a block takes its time, and a
        limit would make the peer that sent the block look like a liar."""
        done = trio.Event()
        await self._send.send((event, done))
        await done.wait()

    def wake(self) -> None:
        """Transactions arrived: an empty height need not wait any longer."""
        self._put(TransactionsArrived())

    def status(self) -> ConsensusStatus:
        return replace(self.driver.status(), dropped=self.dropped, vote_streams=len(self.exchange.neighbours))

    async def run(self) -> None:
        """Run until cancelled. Raises StorageError when the disk cannot be written. After another failure it may be
        called again: it starts from what is on disk, as after a restart of the process."""
        if self._ran:
            self._begin()
        self._ran = True
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._carry_out(nursery, await run_cooperatively(self.driver.begin_resumably()))
            async for event, done in self._receive:
                try:
                    await self._carry_out(nursery, await run_cooperatively(self.driver.take_resumably(event)))
                finally:
                    if done is not None:
                        done.set()

    async def _carry_out(self, nursery: trio.Nursery, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Broadcast(topic="proposals"):
                    await self._propose(compact(output.data))
                case Broadcast():
                    self.exchange.broadcast(output.data, now_ms())
                case SetTimer():
                    nursery.start_soon(self._fire_later, output)
                case Committed():
                    self._on_commit(output.block, output.certificate)
                    for found in self.bodies.new_height():
                        self._pursue(found)
        self.exchange.look(now_ms())
        self.on_due()

    async def _propose(self, found: CompactProposal) -> None:
        data = encode(found)
        if not self.exchange.propose(found.signed.proposal, data, now_ms()):
            await self._publish("proposals", data)

    async def _fire_later(self, timer: SetTimer) -> None:
        await trio.sleep(timer.delay_ms / 1000)
        await self._send.send((timer.event, None))
