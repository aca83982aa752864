"""Files and folders of one user. Law: what a peer or a client makes can be read by its own user alone; wider modes that exist are narrowed,
and a secret that others could read is refused.

Prompts, keys and payloads lie in plain text on the disk: on a machine with several users the modes are all that keeps them apart.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from p2p.base.errors import ConfigError, FolkmootError, StorageError

FOLDER_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077
MAX_SHORT = 60  # bytes of a path below which a socket's fits (108)
OURS = ("data", "log", "nonces")  # folders of a peer's folder; what else lies there is its user's
_WRONG_PLACE = frozenset({
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
})


def keep_private() -> None:
    """For the whole process and its children: what is made without a mode is for this user alone."""
    os.umask(OTHERS)


def failure(error: Exception, doing: str, path: Path, field: str) -> FolkmootError:
    """The typed error of a file that cannot be used: a wrong name is the caller's (ConfigError), the rest is the machine's (StorageError)."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno in _WRONG_PLACE):
        return ConfigError(f"cannot {doing} {path}: {reason}; give another path", field=field)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    return StorageError(
        f"cannot {doing} {path}: {reason}; " + ("free space on the disk, then try again" if full else "make it writable for this user"),
        field=field, code="disk_full" if full else None,
    )


def exists(path: Path) -> bool:
    """Whether something is there; a name that cannot be one (too long, with a zero byte) is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def make_folder(path: Path, *, field: str = "dir") -> None:
    """A folder for this user alone, its parents as the system makes them. One that exists is narrowed. Raises ConfigError where it is no
    folder, StorageError where it cannot be made."""
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _narrow(path, path.stat())
    except (OSError, ValueError) as error:
        raise failure(error, "make the folder", path, field) from error


def check_own(directory: Path, *, field: str = "dir") -> None:
    """A peer's folder is about to be narrowed: raises ConfigError for one that is everybody's (/tmp) or another user's."""
    try:
        found = directory.stat()
    except (OSError, ValueError):
        return  # it is not there yet, or cannot be used: said by who makes it
    if found.st_mode & stat.S_ISVTX or (found.st_uid != os.geteuid() and os.geteuid() != 0):
        raise ConfigError(f"{directory} is a folder of others too; give one of your own", field=field)


def short_folder() -> str:
    """Where a new folder's path is short enough for a Unix socket: the user's own place for such, or the system's temporary folder."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    return own if 0 < len(os.fsencode(own)) <= MAX_SHORT and os.access(own, os.W_OK | os.X_OK) else tempfile.gettempdir()


def write_file(path: Path, data: bytes, *, field: str) -> None:
    """Whole or not at all, on disk when it returns, readable by this user alone."""
    scratch = path.with_name(path.name + ".new")
    try:
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, ValueError) as error:
        raise failure(error, "write", path, field) from error


def open_output(path: Path, flags: int = os.O_TRUNC) -> int:
    """A descriptor to write to a file that a user has named: a new one is for this user alone, one that exists keeps its mode."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, FILE_MODE)


def check_output(path: Path, *, field: str) -> None:
    """Whether a file that a user has named can be written, before money or hours are spent on what goes into it; nothing is left behind and
    nothing that is there is touched. Raises ConfigError or StorageError."""
    try:
        new = not path.exists()
        os.close(open_output(path, os.O_APPEND | os.O_NONBLOCK))  # a pipe without a reader must not make us wait
        if new:
            Path(os.path.realpath(path)).unlink()  # what a link points to was made, and not the link
    except (OSError, ValueError) as error:
        raise failure(error, "write", path, field) from error


def read_file(path: Path, limit: int, *, field: str) -> bytes:
    """All of a regular file of at most `limit` bytes. Raises ConfigError naming it."""
    return _read(path, limit, field, secret=False)


def read_secret(path: Path, limit: int, *, field: str) -> bytes:
    """The same of a file that nobody else may read: one that others could is refused, for what they may have read is worth nothing now."""
    return _read(path, limit, field, secret=True)


def _read(path: Path, limit: int, field: str, *, secret: bool) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path} is no regular file", field=field)
            if secret and found.st_mode & OTHERS:
                mode = f"{stat.S_IMODE(found.st_mode):04o}"
                raise ConfigError(
                    f"{path} can be read or written by others (mode {mode}); if nobody has: chmod 600 {path}, else make a new key",
                    field=field, code="key_mode",
                )
            raw = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", field=field) from error
    if len(raw) > limit:
        raise ConfigError(f"{path} has more than {limit} bytes; it is not such a file", field=field)
    return raw


def narrow_tree(directory: Path) -> None:
    """At a peer's start: its folder, the files in it and its own folders below are for its user alone from now on. Links are not followed.
    Keys are left as they are: `read_secret` refuses them, so that their owner hears of it. Raises ConfigError, StorageError."""
    check_own(directory)
    make_folder(directory)
    for entry in sorted(directory.iterdir()):
        found = entry.lstat()
        if stat.S_ISDIR(found.st_mode) and entry.name in OURS:
            for folder, _, files in os.walk(entry):
                for path in (Path(folder), *(Path(folder) / name for name in files)):
                    _narrow_quietly(path)
        elif not stat.S_ISDIR(found.st_mode) and entry.suffix != ".key":
            _narrow_quietly(entry)


def _narrow_quietly(path: Path) -> None:
    try:
        _narrow(path, path.lstat())
    except FileNotFoundError:
        return  # gone meanwhile
    except OSError as error:
        raise failure(error, "narrow the mode of", path, "dir") from error


def _narrow(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & OTHERS:
        return
    path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
