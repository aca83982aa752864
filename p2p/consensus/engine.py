"""The shell around the driver: time, the queue, the network. Law: one task owns the driver; a write error halts the peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio

from p2p.consensus.application import Application
from p2p.consensus.driver import Driver
from p2p.consensus.events import Alarm, Commit, Committed, Input, Output, Reload, Say, Wake
from p2p.consensus.guard import GuardLog
from p2p.consensus.messages import Block, CommitCertificate
from p2p.consensus.timing import Timing
from p2p.keys import Key

log = structlog.get_logger()

QUEUE = 4096
INJECT_TIMEOUT_S = 10.0


class Engine:
    """deliver() and inject_commit() feed it, run() owns it."""

    def __init__(
        self, *, key: Key, network: str, app: Application, guard: GuardLog, publish: Callable[[str, bytes], Awaitable[None]],
        timing: Timing, clock: Callable[[], int], on_commit: Callable[[Block, CommitCertificate], None] = lambda b, c: None,
        has_txs: Callable[[], bool] = lambda: False,
    ) -> None:
        self.driver = Driver(key=key, network=network, app=app, guard=guard, timing=timing, clock=clock, has_txs=has_txs)
        self._app, self._publish, self._on_commit = app, publish, on_commit
        self._send, self._receive = trio.open_memory_channel[tuple[Input, trio.Event | None]](QUEUE)

    def deliver(self, from_peer: str, topic: str, data: bytes) -> bool:
        """A gossip message: False when it is invalid."""
        del from_peer, topic
        accepted, message = self.driver.judge(data)
        if message is not None:
            self._put(message)
        return accepted

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
        done = trio.Event()
        await self._send.send((event, done))
        with trio.move_on_after(INJECT_TIMEOUT_S):
            await done.wait()

    def wake(self) -> None:
        """Transactions arrived: an empty height need not wait any longer."""
        self._put(Wake())

    def status(self) -> dict[str, Any]:
        return self.driver.status()

    async def run(self) -> None:
        """Until cancelled. Raises StorageError when nothing can be written any more."""
        async with trio.open_nursery() as nursery:
            await self._carry_out(nursery, self.driver.begin())
            async for event, done in self._receive:
                await self._carry_out(nursery, self.driver.take(event))
                if done is not None:
                    done.set()

    async def _carry_out(self, nursery: trio.Nursery, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Say():
                    await self._publish(output.topic, output.data)
                case Alarm():
                    nursery.start_soon(self._alarm, output)
                case Committed():
                    self._on_commit(output.block, output.certificate)

    async def _alarm(self, alarm: Alarm) -> None:
        await trio.sleep(alarm.delay_ms / 1000)
        await self._send.send((alarm.event, None))
