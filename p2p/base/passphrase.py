"""Where a passphrase comes from: never from the command line or a value in the environment, which others can read.

Law: the first source that is given is used, and one that fails is an error, not a reason to try the next. They are: a
descriptor (FOLKMOOT_PASSPHRASE_FD), a file that its user alone can read (FOLKMOOT_PASSPHRASE_FILE), systemd's
credential `folkmoot-passphrase`, and a prompt on the terminal.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from p2p.base.errors import ConfigError
from p2p.base.files import read_secret
from p2p.base.locked_key import MAX_PASSPHRASE

FD, FILE = "FOLKMOOT_PASSPHRASE_FD", "FOLKMOOT_PASSPHRASE_FILE"
CREDENTIAL = "folkmoot-passphrase"
_seen: dict[str, bytes] = {}  # of a descriptor, which can be read once


def is_given() -> bool:
    """Whether there is a source besides a terminal."""
    return bool(os.environ.get(FD) or os.environ.get(FILE)) or _credential() is not None


def _credential() -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / CREDENTIAL if folder else None
    return file if file is not None and file.exists() else None


def passphrase(what: str, *, again: bool = False) -> bytes:
    """what: the file it opens, for the prompt. again: it is a new one, so a prompt asks twice. Raises ConfigError."""
    if number := os.environ.get(FD):
        return _line(_of_descriptor(number))
    if (named := os.environ.get(FILE)) or (found := _credential()) is None:
        if named:
            return _line(read_secret(Path(named), MAX_PASSPHRASE + 2, field=FILE.lower()))
        return _prompted(what, again=again)
    return _line(_read_credential(found))


def _read_credential(file: Path) -> bytes:
    try:
        return file.read_bytes()[: MAX_PASSPHRASE + 2]  # systemd gives the folder to this service alone
    except OSError as error:
        raise ConfigError(f"cannot read the credential {file}: {error.strerror}", field="passphrase") from error


def _of_descriptor(number: str) -> bytes:
    if number not in _seen:
        try:
            with os.fdopen(int(number), "rb", closefd=False) as file:
                _seen[number] = file.read(MAX_PASSPHRASE + 2)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{FD} names no open descriptor: {error}", field="passphrase") from error
    return _seen[number]


def _line(raw: bytes) -> bytes:
    found = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not found or len(found) > MAX_PASSPHRASE:
        raise ConfigError(f"the passphrase is empty, or longer than {MAX_PASSPHRASE} bytes", field="passphrase")
    return found


def _prompted(what: str, *, again: bool) -> bytes:
    if not sys.stdin.isatty():
        need = f"{what} needs a new passphrase" if again else f"{what} is locked"
        raise ConfigError(
            f"{need}, and there is no terminal to ask for {'one' if again else 'its passphrase'}; set {FILE} to a file "
            f"that you alone can read, or {FD} to a descriptor, or give systemd's credential {CREDENTIAL}",
            field="passphrase",
        )
    found = getpass.getpass(f"{'New passphrase' if again else 'Passphrase'} for {what}: ")
    if again and getpass.getpass("Once more: ") != found:
        raise ConfigError("the two are not the same; nothing was changed", field="passphrase")
    return _line(found.encode())
