"""Which process listens on a TCP port of this machine, as the kernel says. Law: reads /proc only; where it cannot
tell, the answer is no."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def group_listens(group: int, port: int) -> bool:
    """Whether a process of this process group holds a listening socket on TCP `port`."""
    wanted = set(_inodes(port))
    return any(inode in wanted for pid in _members(group) for inode in _sockets(pid))


def _inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for words in map(str.split, lines):
            if len(words) > 9 and words[3] == _LISTEN and int(words[1].rsplit(":", 1)[1], 16) == port:
                yield words[9]


def _members(group: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    yield int(entry.name)
            except OSError:
                continue  # the process has ended


def _sockets(pid: int) -> Iterator[str]:
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            name = os.readlink(link)
            if name.startswith("socket:["):
                yield name[8:-1]
    except OSError:
        return  # the process has ended, or is another user's
