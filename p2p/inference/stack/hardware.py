"""What this machine has: memory, processor, GPUs, engines.

Law: it looks and changes nothing; what cannot be found out is None or empty.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_SMI_S = 10.0  # for nvidia-smi to answer
_MIB = 1 << 20
_MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, as its driver names it."""

    name: str
    total: int  # bytes of memory
    free: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """One machine. Sizes are bytes."""

    cores: int
    memory: int  # of the machine
    available: int  # of it, without swapping
    instructions: frozenset[str]  # of the processor, as Linux names them; empty: not known
    gpus: tuple[Gpu, ...]
    driver: str  # why no GPU was found, where a driver is there and does not answer; else empty
    engines: tuple[str, ...]  # of vllm and torch, those that are installed


def look(proc: Path = Path("/proc")) -> Hardware:
    """This machine."""
    memory = _memory(_text(proc / "meminfo"))
    gpus, driver = _gpus()
    return Hardware(
        os.cpu_count() or 1, memory.get("MemTotal", 0), memory.get("MemAvailable", 0),
        instructions(_text(proc / "cpuinfo")), gpus, driver,
        tuple(name for name in ("vllm", "torch") if find_spec(name) is not None),
    )


def instructions(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in /proc/cpuinfo."""
    for row in cpuinfo.splitlines():
        name, _, value = row.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def read_smi(text: str) -> tuple[Gpu, ...]:
    """The lines `name, total MiB, free MiB` of nvidia-smi."""
    found = []
    for row in text.splitlines():
        parts = [part.strip() for part in row.split(",")]
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            found.append(Gpu(parts[0][:80], int(parts[1]) * _MIB, int(parts[2]) * _MIB))
    return tuple(found)


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    """(the GPUs, why there are none although the driver's program is there)."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return (), ""
    command = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"nvidia-smi does not answer: {type(error).__name__}"
    found = read_smi(done.stdout[:_MAX_TEXT])
    said = (done.stdout + done.stderr).strip()[:200]
    return found, "" if found else f"nvidia-smi found no GPU: {said or f'exit status {done.returncode}'}"


def _memory(meminfo: str) -> dict[str, int]:
    rows = (row.split() for row in meminfo.splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[1].isdigit()}


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as handle:
            return handle.read(_MAX_TEXT)
    except OSError:
        return ""
