"""drain: the peer in --dir takes nothing new, finishes what runs, and ends.

Law: thin; files and the control socket only. The exit status says whether the peer has ended.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from p2p.base.errors import Unavailable
from p2p.cli.arguments import default_dir, number
from p2p.cli.output import show

LIMIT_S = 600.0
_LOOK_S = 0.1
_LATER_S = 15.0  # to close connections and the store, after its limit


def register(commands: Any) -> None:
    command = commands.add_parser("drain")
    command.add_argument(
        "--dir", type=Path, default=default_dir(), help="the folder of the peer (default: %(default)s)",
    )
    command.add_argument(
        "--limit", type=number(0, 86_400), default=LIMIT_S, metavar="SECONDS",
        help="what is not finished then is broken off (default: %(default)g)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Raises Unavailable where no peer runs, or it does not end."""
    began = time.monotonic()
    left = drain(options.dir, options.limit)
    took = round(time.monotonic() - began, 1)
    answer = {"ended": True, "seconds": took, "left_at_first": left}
    running = ", ".join(f"{count} {what}" for what, count in left.items() if count) or "nothing"
    show(options, answer, lambda: f"the peer has ended after {took} s; {running} ran when it began to drain")
    return 0


def drain(directory: Path, limit_s: float) -> dict[str, int]:
    """Let the peer there end; returns what ran at first. Raises Unavailable."""
    from p2p.peer.control import call, socket_path

    left = call(directory, {"op": "drain", "limit_s": limit_s})["left"]
    until = time.monotonic() + limit_s + _LATER_S
    while time.monotonic() < until:
        if not socket_path(directory).exists() and not _is_locked(directory):
            return dict(left)
        time.sleep(_LOOK_S)
    raise Unavailable(f"the peer in {directory} has not ended; its log says what it does", field="dir")


def _is_locked(directory: Path) -> bool:
    """Whether a process holds the store."""
    import fcntl
    import os

    try:
        descriptor = os.open(directory / "data" / "peer.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
