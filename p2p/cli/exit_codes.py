"""Exit statuses of `folkmoot`, for `folkmoot help exit-codes` and docs/commands.md.

Law: made from the error types, so that no page can differ from what a command returns.
"""

from __future__ import annotations

from typing import NamedTuple

from p2p.base.errors import (
    ConfigError,
    InvalidRequest,
    LocalProtocolError,
    Overloaded,
    RemoteProtocolError,
    StorageError,
    Unavailable,
)

FOUND = 1  # what was looked at is not in order
UNCHECKED = RemoteProtocolError.exit_status  # a receipt or a proof does not hold
BUG = LocalProtocolError.exit_status
INTERRUPTED = 130  # Ctrl-C
NOBODY_READS = 141  # as a shell names the end by SIGPIPE
USAGE = ConfigError.exit_status
_SIGNALS = 128  # and the number of the signal that ended the program, as in a shell


class ExitCode(NamedTuple):
    """One row."""

    status: int
    codes: tuple[str, ...]  # of the error in --json; none: it is no error
    means: str


_MEANINGS = {
    InvalidRequest: "", ConfigError: "something you gave is wrong; `field` names it",
    RemoteProtocolError: "a peer broke the protocol, or a receipt, an answer or a proof does not hold",
    Overloaded: "try another peer, or again after `retry_after` heights",
    Unavailable: "nobody could be reached, or nobody serves the model",
    StorageError: "a file or the store could not be read or written",
    LocalProtocolError: "a fault of this program; please report it",
}


def exit_codes() -> list[ExitCode]:
    """All of them, by status."""
    found = {
        0: ExitCode(0, (), "done, and every claim that was checked holds"),
        FOUND: ExitCode(FOUND, (), "done, and what was looked at is not in order: `doctor`, `ping`, `testnet run`"),
        INTERRUPTED: ExitCode(INTERRUPTED, (), "ended by Ctrl-C"),
        NOBODY_READS: ExitCode(NOBODY_READS, (), "nobody reads the output any more"),
        _SIGNALS + 15: ExitCode(_SIGNALS + 15, (), "`top` was ended by SIGTERM; other signals count in the same way"),
    }
    for kind, means in _MEANINGS.items():
        codes = ("internal",) if kind is LocalProtocolError else (kind.code,)
        before = found.get(kind.exit_status)
        found[kind.exit_status] = ExitCode(
            kind.exit_status, ((*before.codes, *codes) if before else codes), means or (before.means if before else ""),
        )
    return [found[status] for status in sorted(found)]


def as_text() -> str:
    """For a terminal."""
    rows = [(str(one.status), ", ".join(one.codes) or "-", one.means.replace("`", "")) for one in exit_codes()]
    width = max(len(row[1]) for row in rows)
    return "\n".join(["status  " + "code".ljust(width) + "  means",
                      *(f"{status:>6}  {codes:{width}}  {means}" for status, codes, means in rows)])


def as_markdown() -> str:
    """For docs/commands.md."""
    rows = [f"| {one.status} | {', '.join(f'`{code}`' for code in one.codes)} | {one.means} |" for one in exit_codes()]
    return "\n".join(["| status | code | means |", "|---|---|---|", *rows])
