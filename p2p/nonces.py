"""Which nonces a client has used. Law: a nonce is given out once, whatever a peer says that the chain has seen.

A peer knows of an inference when its Start is in a block, so of two questions to two peers in a row the second one would be signed with the
nonce of the first: served, and refused by the chain, and its executor would have worked for nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

MAX_NONCE = (1 << 64) - 1


class Nonces:
    """In files `directory`/ACCOUNT, the highest nonce in decimals; several processes may use one directory. Where it cannot be written, the
    peers' word is all there is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take(self, account: bytes, offered: int, choose: Callable[[int], int] = lambda lowest: lowest) -> int:
        """A nonce of `account` from `offered` (what the peer says) and what was taken before; choose: may go up from the lowest. What it raises
        takes nothing."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(self._directory / account.hex(), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return choose(offered)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # held for a choice of at most some hundred signatures
            nonce = choose(max(offered, _last(os.pread(file, 21, 0)) + 1))
            os.pwrite(file, f"{nonce:020d}\n".encode(), 0)
            return nonce
        finally:
            os.close(file)


def _last(raw: bytes) -> int:
    """0 where nothing, or no nonce, is written."""
    try:
        nonce = int(raw)
    except ValueError:
        return 0
    return nonce if 0 <= nonce < MAX_NONCE else 0
