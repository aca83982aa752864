"""What consensus needs of the application above it. Law: `validate` is pure; `finalize` is one durable transaction.

Checking and applying a block takes long, so each is in two parts: `precheck` and `execute` do the work with pauses and
change nothing that can be seen; `validate` and `finalize` are then quick. Without them they do the work themselves.
"""

from __future__ import annotations

from typing import Protocol

from p2p.base.resumable import Resumable
from p2p.consensus.messages import Block, CommitCertificate

Members = tuple[tuple[bytes, int], ...]  # (key, weight)


class Application(Protocol):
    """The state machine that consensus replicates (compare CometBFT's ABCI)."""

    def height(self) -> int:
        """The height committed last; 0: genesis."""

    def app_hash(self) -> bytes:
        """32 bytes: the hash of the state after height()."""

    def beacon(self) -> bytes:
        """32 bytes: the beacon of the last block."""

    def last_block_id(self) -> bytes:
        """32 bytes; zeros at genesis."""

    def last_commit(self) -> CommitCertificate | None:
        """The certificate of the last block; None at genesis."""

    def last_time_ms(self) -> int:
        """The time of the last block."""

    def validators(self) -> Members:
        """The set that decides height() + 1."""

    def last_validators(self) -> Members:
        """The set that decided height()."""

    def next_validators(self) -> Members:
        """The set that will decide height() + 2."""

    def priorities(self) -> bytes:
        """What finalize was given last: bytes of consensus that are part of the state (validators.dump_priorities)."""

    def punished(self) -> frozenset[bytes]:
        """Keys that the chain holds evidence against already."""

    def prepare(self, max_bytes: int) -> tuple[bytes, ...]:
        """Transactions for a new block, of max_bytes together at most."""

    def precheck(self, block: Block) -> Resumable[None]:
        """The work of `validate`, as resumable work."""

    def validate(self, block: Block) -> bool:
        """Whether a block's transactions may follow the state."""

    def execute(self, block: Block, priorities: bytes) -> Resumable[None]:
        """The work of `finalize`, as resumable work; nothing of it can be seen yet."""

    def finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        """Apply a decided block. Durable when this returns; raises StorageError: halt the peer."""
