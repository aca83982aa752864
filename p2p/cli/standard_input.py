"""What is piped into a command. Law: bounded, UTF-8, and read only where a pipe or a file is there: a terminal, or
nothing at all, is never waited for."""

from __future__ import annotations

import os
import select
import stat
import sys

from p2p.base.errors import InvalidRequest

_TELL_S = 2.0  # of silence, after which the user is told what is waited for


def piped(limit: int, field: str) -> str:
    """The text; '' where nothing is piped. Raises InvalidRequest for more than `limit` bytes, or no UTF-8."""
    try:
        number = sys.stdin.fileno()
        mode = os.fstat(number).st_mode
    except (OSError, ValueError, AttributeError):  # closed
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return ""
    raw = bytearray()
    is_told = False
    while len(raw) <= limit:
        if not is_told and not select.select([number], [], [], _TELL_S)[0]:
            is_told = True
            print(
                "waiting for the rest of the question on standard input; close it, or give --no-stdin",
                file=sys.stderr, flush=True,
            )
        chunk = os.read(number, 65_536)
        if not chunk:
            break
        raw += chunk
    if len(raw) > limit:
        raise InvalidRequest(f"standard input has more than {limit} bytes; give less", field=field)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("standard input is no UTF-8 text", field=field) from error
