"""What a provider of processes does, and what it is asked to run.

Law: a run knows no provider by name; what a provider cannot do it says before anything is started.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

START_S = 60.0  # limit for one process to be there
STOP_S = 20.0  # after which what does not end is killed
EXEC_S = 120.0  # limit for a command inside


@dataclass(frozen=True, slots=True)
class Task:
    """One process of the network."""

    name: str
    argv: tuple[str, ...]  # of `python -m`
    log: Path  # what it prints goes to the end of this file, which lies in one of the folders
    folders: tuple[Path, ...]  # that it reads and writes; it sees them under the same path
    env: Mapping[str, str] = field(default_factory=dict)
    linked: bool = False  # it has an address of the fabric
    memory_mib: int | None = None
    cpus: float | None = None
    release: Path | None = None  # folder with the program's source; None: this one
    engine: bool = False  # it needs vLLM or torch


class Provider(Protocol):
    """Starts and stops processes. A task's name is used once at a time."""

    def open(self) -> None:
        """Prepare what all tasks need. Raises ConfigError, Unavailable."""

    def start(self, task: Task) -> None:
        """Start a task; its process runs when this returns. Raises Unavailable."""

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End a task, in order or without a word, and wait until it has ended. One that has ended is no error."""

    def signal(self, name: str, sign: int) -> None:
        """Send a signal to a task that runs."""

    def pid(self, name: str) -> int | None:
        """The task's process as this machine sees it; None: it does not run."""

    def execute(self, name: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command where the task runs: its network, its files. Raises Unavailable where it does not run."""

    def close(self) -> list[str]:
        """End every task and remove what `open` made. Returns the names of tasks that still ran."""
