"""One process of this user on this machine for each key, wherever their folders lie.

Law: a lock that cannot be made for a reason that is not ours is said in the log and prevents nothing; one that another
process holds ends the start. It says nothing of other machines: there only `twin` in `status` does, after the fact.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from p2p.base.errors import StorageError
from p2p.base.files import FILE_MODE, FOLDER_MODE, OTHERS

log = structlog.get_logger()


def _folder() -> Path:
    """For this user alone. Raises OSError."""
    path = Path(tempfile.gettempdir()) / f"folkmoot-{os.geteuid()}"
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & OTHERS or path.is_symlink():
        raise OSError(f"{path} is not this user's alone")
    return path


@contextmanager
def key_lock(peer_id: str) -> Iterator[None]:
    """While the block runs no other process of this user on this machine enters with the same key. Raises StorageError
    where one is in it."""
    try:
        path = _folder() / f"{peer_id}.lock"
        descriptor = _open(path)
    except OSError as error:
        log.warning("two peers with one key on this machine would not be noticed", reason=str(error))
        yield
        return
    if descriptor is None:
        raise StorageError(
            "another peer with this key runs on this machine, from another folder; stop it first: two votes of one key"
            " cost all weight", field="key", code="locked",
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock goes: who waits on the old file looks again
        os.close(descriptor)


def _open(path: Path) -> int | None:
    """A locked descriptor of the file at `path`; None: another process has it. Raises OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
        os.close(descriptor)  # it was removed between the two calls
