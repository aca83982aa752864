"""The file of a new account key, by one rule for `init` and `join`: locked by a passphrase, or left off this machine.

Law: no secret is printed, and none is taken from the command line (decision 073).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--account-elsewhere", action="store_true",
        help="make no account.key: the owner's key stays on another machine (docs/operations.md, Keys)",
    )
    command.add_argument(
        "--unlocked", action="store_true", help="do not ask for a passphrase that locks account.key",
    )


def can_be_asked() -> bool:
    """Whether a passphrase is given, or a terminal can be asked for one."""
    from p2p.base.passphrase import is_given

    return is_given() or sys.stdin.isatty()


def new_passphrase(file: Path, *, unlocked: bool) -> bytes | None:
    """What locks a new account key; None: nothing does. Raises ConfigError."""
    from p2p.base.passphrase import passphrase

    return passphrase(str(file), again=True) if not unlocked and can_be_asked() else None


def lock_in_words(file: Path, *, locked: bool) -> str:
    return "account.key, by the passphrase" if locked else f"no; lock it with: folkmoot key lock {file}"
