"""Makes, reads and writes files that only their own user can read.

Law: files and folders that a peer or client makes have modes for their user alone; wider modes that exist are narrowed;
a secret that others could have read is refused.

Prompts, keys and payloads are plain text on the disk. On a machine with several users only the modes protect them.
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
OTHERS = 0o077  # the permission bits of group and others
MAX_SHORT = 60  # bytes of a folder's path in which a Unix socket's path (108 bytes) still fits
OURS = ("data", "log", "nonces")  # folders inside a peer's folder that the program makes; the rest belongs to the user
_WRONG_PLACE = frozenset({
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
})  # the caller named a path that cannot be used
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def keep_private() -> None:
    """Set the umask of this process and its children: a file made without a mode is for this user alone."""
    os.umask(OTHERS)


def failure(error: Exception, doing: str, path: Path, field: str) -> FolkmootError:
    """The typed error for a file that cannot be used: ConfigError where the path is wrong, StorageError otherwise.

    doing: a verb for the message, such as "write". field: the setting that names the path.
    """
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno in _WRONG_PLACE):
        return ConfigError(f"cannot {doing} {path}: {reason}; give another path", field=field)
    full = isinstance(error, OSError) and error.errno in _DISK_FULL
    access = "run this as its owner, or let this user read it" if doing == "read" else "make it writable for this user"
    remedy = "free space on the disk, then try again" if full else access
    return StorageError(f"cannot {doing} {path}: {reason}; {remedy}", field=field, code="disk_full" if full else None)


def exists(path: Path) -> bool:
    """Whether `path` exists; False also for a name that no file can have (too long, or with a zero byte). True where
    this user may not look: whoever reads it then says that, and not that it is missing."""
    try:
        return path.exists()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def make_folder(path: Path, *, field: str = "dir") -> None:
    """Make a folder for this user alone, and its parents with the usual modes; narrow one that exists.

    Raises ConfigError where `path` is not a folder, StorageError where it cannot be made.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _narrow(path, path.stat())
    except (OSError, ValueError) as error:
        raise failure(error, "make the folder", path, field) from error


def check_own(directory: Path, *, field: str = "dir") -> None:
    """Raises ConfigError for a folder that must not be narrowed: one that all users share (/tmp), or another user's."""
    try:
        found = directory.stat()
    except (OSError, ValueError):
        return  # it does not exist yet, or cannot be used: make_folder reports that
    if found.st_mode & stat.S_ISVTX or (found.st_uid != os.geteuid() and os.geteuid() != 0):
        raise ConfigError(f"{directory} belongs to other users too; give a folder of your own", field=field)


def short_folder() -> str:
    """A place for new folders whose path is short enough for a Unix socket: the user's runtime folder, or the system's
    temporary one."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = 0 < len(os.fsencode(own)) <= MAX_SHORT and os.access(own, os.W_OK | os.X_OK)
    return own if usable else tempfile.gettempdir()


def write_file(path: Path, data: bytes, *, field: str) -> None:
    """Write a file atomically, fsynced when it returns, readable by this user alone.

    Raises ConfigError or StorageError, as `failure` says.
    """
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
    """A descriptor for writing to a file that the user named: a new file is for this user alone, an existing one keeps
    its mode."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, FILE_MODE)


def check_output(path: Path, *, field: str) -> None:
    """Check that a file that the user named can be written, before money or hours are spent on its content.

    Nothing is left behind, and an existing file is not changed. Raises ConfigError or StorageError.
    """
    try:
        new = not path.exists()
        os.close(open_output(path, os.O_APPEND | os.O_NONBLOCK))  # a pipe without a reader must not make us wait
        if new:
            Path(os.path.realpath(path)).unlink()  # a dangling link stays: the file it points to was made
    except (OSError, ValueError) as error:
        raise failure(error, "write", path, field) from error


def read_file(path: Path, limit: int, *, field: str) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises ConfigError that names it."""
    return _read(path, limit, field, secret=False)


def read_secret(path: Path, limit: int, *, field: str) -> bytes:
    """As read_file, for a file that nobody else may read: with a wider mode it is refused, because a secret that others
    may know is worth nothing."""
    return _read(path, limit, field, secret=True)


def _read(path: Path, limit: int, field: str, *, secret: bool) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path} is not a regular file", field=field)
            if secret and found.st_mode & OTHERS:
                mode = f"{stat.S_IMODE(found.st_mode):04o}"
                raise ConfigError(
                    f"{path} can be read or written by others (mode {mode}); if nobody has done so: chmod 600 {path},"
                    " else make a new one", field=field, code="key_mode",
                )
            raw = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", field=field) from error
    if len(raw) > limit:
        raise ConfigError(f"{path} has more than {limit} bytes, the most for such a file", field=field)
    return raw


def narrow_tree(directory: Path) -> None:
    """At a peer's start: narrow the modes of its folder, of the files in it, and of all below the folders in OURS.

    Links are not followed. Keys keep their modes, so that `read_secret` refuses a wide one and its owner hears of it.
    Raises ConfigError or StorageError.
    """
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
