"""DIR/testnet.json: which processes a test network has on this machine, and whether they run.

Law: reads only, and imports nothing of ours: the guard of each network (guard.py) starts with it alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STATE = "testnet.json"


def read_state(directory: Path) -> dict[str, Any]:
    """Processes by name (pid, argv, started), addresses by name of a peer's folder."""
    file = directory / STATE
    return dict(json.loads(file.read_text())) if file.exists() else {"processes": {}, "addresses": {}}


def started(pid: int) -> str:
    """When a process started, as the kernel counts it: together with its id it names one process for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def alive(entry: dict[str, Any]) -> bool:
    """Whether a process that was written down still runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{entry['pid']}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return state[19] == entry["started"] and state[0] != "Z"
