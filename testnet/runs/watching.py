"""Looks at every peer from outside, once in a while: its own status, and what the kernel says of its process.

Law: it asks and changes nothing; a peer that does not answer has no sample, and stops nobody.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p.base.errors import FolkmootError
from p2p.peer.control import call

LOOK_S = 1.0  # between two looks, at least
SHARE = 0.05  # of one core that looking at all peers may take
LOOK_CPU_S = 0.01  # what one look at one peer costs, roughly, on both sides
AT_ONCE = 8  # peers that are looked at together
MAX_LOOKS = 20_000  # then every second one is thrown away
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Seen:
    """One peer at one moment."""

    height: int
    state: str
    connections: int
    mesh: tuple[int, ...]  # neighbours in the mesh of each topic
    rss: int  # resident memory, bytes
    files: int  # open file descriptors
    cpu_s: float  # of its process since it started
    ended: tuple[tuple[str, int], ...] = ()  # connections that have ended since then, by reason


@dataclass(frozen=True, slots=True)
class Look:
    """All peers that answered, at one moment."""

    at: float  # seconds since 1970
    peers: Mapping[str, Seen]


@dataclass(slots=True)
class Watcher:
    """folders: of the peers, by name. pid: a peer's process now, None: it does not run."""

    folders: Mapping[str, Path]
    pid: Callable[[str], int | None]
    looks: list[Look] = field(default_factory=list)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)  # the newest of each peer
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = max(LOOK_S, len(self.folders) * LOOK_CPU_S / SHARE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while not self._over.wait(pause):
                found = dict(pool.map(self._one, list(self.folders)))
                self.looks.append(Look(time.time(), {name: seen for name, seen in found.items() if seen}))
                if len(self.looks) > MAX_LOOKS:
                    del self.looks[::2]

    def _one(self, name: str) -> tuple[str, Seen | None]:
        pid = self.pid(name)
        if pid is None or stopped(pid):
            return name, None
        try:
            status = call(self.folders[name], {"op": "status"})
            mesh = tuple(int(size) for size in status.get("gossip", {}).get("mesh", {}).values())
            ended = tuple((str(why), int(count)) for why, count in sorted(status.get("ended", {}).items()))
            seen = Seen(
                int(status["height"]), str(status["state"]), int(status["connections"]), mesh, *used(pid), ended=ended
            )
        except (FolkmootError, OSError):
            return name, None
        self.statuses[name] = status
        return name, seen

    def last(self) -> Look | None:
        return self.looks[-1] if self.looks else None


def used(pid: int) -> tuple[int, int, float]:
    """(resident bytes, open files, CPU seconds) of a process. Raises OSError when it has ended."""
    proc = Path(f"/proc/{pid}")
    words = (proc / "stat").read_text().rsplit(")", 1)[1].split()
    return int(words[21]) * _PAGE, len(os.listdir(proc / "fd")), (int(words[11]) + int(words[12])) / _TICKS


def stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal: asking it would only wait."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except OSError:
        return True


def highest(looks: Sequence[Look], before: float) -> int:
    """The highest height that anybody had shown by then."""
    return max((seen.height for look in looks if look.at <= before for seen in look.peers.values()), default=0)
