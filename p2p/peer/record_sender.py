"""Sends this peer's records, and the account transactions it took, until a block has them.

Law: a batch is on disk before any of its bytes leave this process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import trio

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.peer.outbox import Outbox
from p2p.peer.sent_batches import SentStore
from p2p.peer.wakeup import Wakeup

# records that arrive this soon after the first share its batch, for only one that is not full may be in flight
GATHER_S = 0.02
REPEAT_LOOK_S = 2.0  # at least this often it looks for what no block took
log = structlog.get_logger()


@dataclass(slots=True)
class RecordSender:
    """One per peer. The outbox sets `wakeup` for each record, the peer for each new height."""

    node: bytes  # this peer's key
    chain: Chain
    outbox: Outbox
    sent: SentStore
    account_transactions: AccountTransactions
    publish: Callable[[str, bytes], Awaitable[None]]  # (topic, data); never raises
    wake_consensus: Callable[[], None]  # there may be something to propose
    wakeup: Wakeup = field(default_factory=Wakeup)
    _published: int = 0

    async def run(self) -> None:
        """Until cancelled. Raises StorageError."""
        while True:
            height = self.chain.height()
            await self._send_due(height)
            await self._until_more(height)

    async def publish_transaction(self, raw: bytes) -> None:
        """To the topic `transactions`, as [counter, raw]: the counter lets a repeat pass the network's filter of
        duplicates."""
        self._published += 1
        self.wake_consensus()
        await self.publish("transactions", encode([self._published, raw]))

    async def _send_due(self, height: int) -> None:
        """New batches, and what no block took in time. The chain takes no batch of a peer that is not registered, so
        that one keeps its records."""
        may_send = self.chain.reader.is_registered(self.node)
        due = self.outbox.due(self.chain.reader.batch_nonce(self.node), height, may_send=may_send)
        self.sent.keep(self.outbox.flight)
        for raw in due:
            try:
                self.chain.pool.add(raw)
            except FolkmootError as error:
                log.debug("this peer's own mempool did not take its batch", reason=str(error))
        for raw in (*due, *self.account_transactions.due()):
            await self.publish_transaction(raw)

    async def _until_more(self, height: int) -> None:
        """Until the next height, or a batch can leave, or REPEAT_LOOK_S have passed."""
        with trio.move_on_after(REPEAT_LOOK_S):
            while self.chain.height() == height:
                if self.outbox.ready:
                    await trio.sleep(GATHER_S)
                    return
                await self.wakeup.wait()
