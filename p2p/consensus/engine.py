"""The shell around the driver: time, the queue, the network. Law: one task owns the driver, a block is checked and applied between the turns of
all others (patient.py), and what comes meanwhile waits in the queue; a write error halts the peer.

The driver says and takes whole proposals; between peers they travel compact (compact.py), so what is missing here is fetched first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import structlog
import trio

from p2p.base.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import BODY_TIMEOUT_S
from p2p.base.outcome import Outcome
from p2p.consensus.application import Application
from p2p.consensus.bodies import Bodies
from p2p.consensus.compact import Assembly, FindTx, shrink
from p2p.consensus.cooperative import patiently
from p2p.consensus.driver import Driver
from p2p.consensus.events import Broadcast, Commit, Committed, Heard, Input, Output, Reload, SetTimer, Wake
from p2p.consensus.guard import GuardLog
from p2p.consensus.messages import Block, CommitCertificate, SignedProposal
from p2p.consensus.timing import Timing
from p2p.machine.tasks import once

log = structlog.get_logger()

QUEUE = 4096
Fetch = Callable[[str, int, bytes, tuple[int, ...]], Awaitable[tuple[bytes, ...]]]


async def nobody(peer: str, height: int, block_id: bytes, places: tuple[int, ...]) -> tuple[bytes, ...]:
    """A Fetch without a network."""
    raise Unavailable("there is no way to other peers", field="peer")


class ConsensusEngine:
    """deliver() and inject_commit() feed it, run() owns it. find_tx: a transaction by its leaf hash, when this peer has it.
    fetch(peer, height, block_id, places): transactions of a block that the peer has offered."""

    def __init__(
        self, *, key: Key, network: NetworkId, app: Application, guard: GuardLog, publish: Callable[[str, bytes], Awaitable[None]],
        timing: Timing, clock: Callable[[], int], on_commit: Callable[[Block, CommitCertificate], None] = lambda b, c: None,
        has_txs: Callable[[], bool] = lambda: False, find_tx: FindTx = lambda leaf: None, fetch: Fetch = nobody,
    ) -> None:
        def begin() -> None:
            self.driver = Driver(key=key, network=network, app=app, guard=guard, timing=timing, clock=clock, has_txs=has_txs)
            self.bodies = Bodies(self.driver, network, find_tx)

        self._begin, self._ran = begin, False
        begin()
        self._app, self._publish, self._on_commit, self._fetch = app, publish, on_commit, fetch
        self._nursery: trio.Nursery | None = None
        self.fetched = 0  # transactions of proposals that had to be fetched
        self._send, self._receive = trio.open_memory_channel[tuple[Input, trio.Event | None]](QUEUE)

    def deliver(self, from_peer: str, topic: str, data: bytes) -> Outcome:
        """A gossip message of author `from_peer`, and what becomes of it."""
        if topic == "proposals":
            return self._offer(from_peer, data)
        outcome, message = self.driver.judge(data, whole=False)
        if message is not None:
            self._put(message)
        return outcome

    def _offer(self, author: str, data: bytes) -> Outcome:
        outcome, found = self.bodies.judge(author, data)
        if found is not None:
            self._pursue(author, found)
        return outcome

    def _pursue(self, author: str, found: SignedProposal | Assembly) -> None:
        if isinstance(found, SignedProposal):
            self._put(Heard(found, self.bodies.arrived_ms(found.proposal)))
        elif self._nursery is not None:
            self._nursery.start_soon(once, "fetch of a block", self._complete, author, found, self.bodies.arrived_ms(found.proposal))
        else:
            self.bodies.done(author)  # not running yet; a repeat brings it again

    async def _complete(self, author: str, assembly: Assembly, at_ms: int) -> None:
        """Fetch what is missing and hand the whole to the driver. Whatever fails costs this offer only: a repeat brings another."""
        lied, places = False, assembly.missing
        try:
            with trio.fail_after(BODY_TIMEOUT_S):
                assembly.fill(await self._fetch(author, assembly.height, assembly.block_id, places))
            self.fetched += len(places)
            self._put(Heard(assembly.whole(), at_ms))
        except RemoteProtocolError as error:
            lied = True
            log.warning("a peer does not give the block it offers", peer=author, height=assembly.height, reason=str(error))
        except (FolkmootError, trio.TooSlowError) as error:
            log.info("a proposed block was not to be had", peer=author, height=assembly.height, missing=len(places), reason=str(error))
        finally:
            self.bodies.done(author, lied=lied)

    def body(self, height: int, block_id: bytes, places: Sequence[int]) -> tuple[bytes, ...] | None:
        """Transactions of a block this peer has proposed or said again; None when it holds no such block any more. Each at most once, so
        that an answer is never larger than a block. Raises RemoteProtocolError for places that no honest peer asks for."""
        if any(after <= before for before, after in pairwise(places)):
            raise RemoteProtocolError("places of a block are asked for in ascending order, each once", field="places", code="shape")
        held = self.driver.machine.proposal_of(block_id) if height == self.driver.height else None
        if held is None:
            return None
        txs = held.block.txs
        if places and places[-1] >= len(txs):
            raise RemoteProtocolError(f"that block has {len(txs)} transactions", field="places", code="shape")
        return tuple(txs[place] for place in places)

    def _put(self, event: Input) -> None:
        try:
            self._send.send_nowait((event, None))
        except trio.WouldBlock:
            log.warning("consensus queue is full; a message was dropped and will be repeated")

    async def inject_commit(self, block: Block, certificate: CommitCertificate) -> bool:
        """A decided block from sync. True when it is (or was already) ours."""
        if certificate.height != self._app.height() + 1:
            return certificate.height <= self._app.height()
        await self._inject(Commit(block, certificate))
        return self._app.height() >= certificate.height

    async def reload(self, install: Callable[[], None]) -> None:
        """Let `install` move the application (a snapshot) and go on from where it stands then."""
        await self._inject(Reload(install))

    async def _inject(self, event: Input) -> None:
        """However long it takes: time goes on while a block is applied, and who brought it must not seem to have lied."""
        done = trio.Event()
        await self._send.send((event, done))
        await done.wait()

    def wake(self) -> None:
        """Transactions arrived: an empty height need not wait any longer."""
        self._put(Wake())

    def status(self) -> dict[str, Any]:
        return self.driver.status()

    async def run(self) -> None:
        """Until cancelled. Raises StorageError when nothing can be written any more. After another failure it may run again: from what is on
        disk, as after a restart of the process."""
        if self._ran:
            self._begin()
        self._ran = True
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._carry_out(nursery, await patiently(self.driver.begin_resumably()))
            async for event, done in self._receive:
                try:
                    await self._carry_out(nursery, await patiently(self.driver.take_resumably(event)))
                finally:
                    if done is not None:
                        done.set()

    async def _carry_out(self, nursery: trio.Nursery, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Broadcast(topic="proposals"):
                    await self._publish(output.topic, shrink(output.data))
                case Broadcast():
                    await self._publish(output.topic, output.data)
                case SetTimer():
                    nursery.start_soon(self._alarm, output)
                case Committed():
                    self._on_commit(output.block, output.certificate)
                    for author, found in self.bodies.new_height():
                        self._pursue(author, found)

    async def _alarm(self, alarm: SetTimer) -> None:
        await trio.sleep(alarm.delay_ms / 1000)
        await self._send.send((alarm.event, None))
