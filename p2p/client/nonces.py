"""Which nonces a client has used.

Law: a nonce is given out once, whatever a peer says that the chain has seen. A peer knows of an inference when its
Start is in a block. So without this, of two questions to two peers in a row the second one would be signed with the
nonce of the first: it would be served and then refused by the chain, and its executor would have worked for nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from p2p.base.errors import FolkmootError
from p2p.base.files import FILE_MODE, make_folder, read_file

MAX_NONCE = (1 << 64) - 1


class Nonces:
    """In files `directory`/ACCOUNT, the highest nonce in decimals. Several processes may use one directory. Where it
    cannot be written, the peers' word is all there is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def last(self, account: bytes) -> int:
        """The highest that was taken here, 0 where none is known."""
        try:
            return _last(read_file(self._directory / account.hex(), 64, field="dir"))
        except FolkmootError:
            return 0

    def lower(self, account: bytes, nonce: int, seen: int) -> None:
        """Continue from `nonce`, above which the chain knows none, as was proved: otherwise nothing that is signed here
        would be taken. seen: the last nonce used here when that was asked; where another process has taken more since,
        they stay taken."""
        try:
            file = os.open(self._directory / account.hex(), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if _locked(file) == seen:
                with contextlib.suppress(OSError):
                    os.pwrite(file, f"{nonce:020d}\n".encode(), 0)
        finally:
            os.close(file)

    def take(self, account: bytes, offered: int, choose: Callable[[int], int] = lambda lowest: lowest) -> int:
        """A nonce of `account` that was not taken before: `offered` (what the peer says) or higher. choose: may go up
        from the lowest; when it raises, nothing is taken."""
        try:
            make_folder(self._directory)
            file = os.open(self._directory / account.hex(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except (OSError, FolkmootError):
            return choose(offered)
        try:
            last = _locked(file)
            nonce = choose(max(offered, last + 1))
            with contextlib.suppress(OSError):  # a full disk, as above
                os.pwrite(file, f"{nonce:020d}\n".encode(), 0)
            return nonce
        finally:
            os.close(file)


def _locked(file: int) -> int:
    """The last nonce in a file, which is locked until it is closed. A choice holds the lock for some hundred signatures
    at most."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        return _last(os.pread(file, 21, 0))
    except OSError:
        return 0


def _last(raw: bytes) -> int:
    """0 where nothing, or no nonce, is written."""
    try:
        nonce = int(raw)
    except ValueError:
        return 0
    return nonce if 0 <= nonce < MAX_NONCE else 0
