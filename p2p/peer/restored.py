"""A peer whose store was restored from a backup: it signs and serves nothing until the network proves that it is safe.

Law: three things together end the wait, and no clock does it alone (decision 072). A height was decided by votes that
this peer heard itself, not brought by sync; its block is later than the restore; nobody else uses this key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from p2p.chain.stores.guard import GuardStore
from p2p.consensus.messages import Block, CommitCertificate

log = structlog.get_logger()

Inject = Callable[[Block, CommitCertificate], Awaitable[bool]]


@dataclass(slots=True)
class Restored:
    """One per peer."""

    guard: GuardStore
    twin: Callable[[], str]  # a sentence, when another peer runs with this key
    _synced: int = 0  # the highest height that came from sync

    @property
    def waits(self) -> str:
        """Why this peer signs nothing; empty: it may."""
        if not self.guard.waits:
            return ""
        if self.twin():
            return "this peer was restored from a backup, and another peer runs with its key: stop one of them"
        return "this peer was restored from a backup and waits for a height that the network decides; ask another"

    def watching(self, inject: Inject) -> Inject:
        """`inject` that remembers what came from sync."""

        async def watched(block: Block, certificate: CommitCertificate) -> bool:
            self._synced = max(self._synced, certificate.height)
            return await inject(block, certificate)

        return watched

    def committed(self, block: Block) -> None:
        """A block was decided. Raises StorageError."""
        header = block.header
        if not self.guard.waits or header.height <= self._synced or self.twin():
            return
        if self.guard.decided(header.height, header.time_ms):
            log.warning("this peer was restored from a backup; it signs above this height", height=header.height)
