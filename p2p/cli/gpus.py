"""What the graphics cards of this machine do, as nvidia-smi says. Law: bounded in time and size; a machine without the
program, or with one that fails, has none."""

from __future__ import annotations

import subprocess
from typing import Any

_FIELDS = ("name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")
_NAMES = ("name", "used_percent", "memory_used_mib", "memory_mib", "celsius", "watts")
_WAIT_S = 3.0
_MOST = 16  # cards


def gpus() -> tuple[dict[str, Any], ...]:
    """One row a card; what a card does not tell is None."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=True)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    return rows_of(done.stdout)


def rows_of(text: str) -> tuple[dict[str, Any], ...]:
    """The rows of nvidia-smi's table. Pure."""
    rows = []
    for line in text.splitlines()[:_MOST]:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(_NAMES):
            rows.append({"name": cells[0][:80], **{n: _number(c) for n, c in zip(_NAMES[1:], cells[1:], strict=True)}})
    return tuple(rows)


def _number(text: str) -> int | None:
    try:
        return round(float(text))
    except (ValueError, OverflowError):
        return None
