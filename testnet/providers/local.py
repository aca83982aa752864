"""Processes of this machine, in namespaces of their own where the run has a fabric.

Law: what was started is written down in DIR/testnet.json (processes.py), and only that is stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from p2p.base.errors import Unavailable
from testnet import processes, state_file
from testnet.fabric.commands import inside
from testnet.fabric.fabric import Fabric
from testnet.providers.provider import EXEC_S, Task

ROOT = Path(__file__).parents[2]


class LocalProvider:
    def __init__(self, directory: Path, fabric: Fabric | None) -> None:
        """directory: of the run."""
        self._directory, self._fabric = directory, fabric
        self._added: set[str] = set()  # tasks that have their namespace

    def open(self) -> None:
        if self._fabric is not None:
            self._fabric.open()

    def start(self, task: Task) -> None:
        if task.linked and self._fabric is not None and task.name not in self._added:
            self._fabric.add(task.name)
            self._added.add(task.name)
        around = self._around(task.name) if task.linked else []
        env = {**os.environ, **task.env, "PYTHONPATH": str(task.release or ROOT)}
        command = [*around, sys.executable, "-m", *task.argv]
        processes.launch(task.name, command, task.log, self._directory, env=env, cwd=task.release)

    def _around(self, name: str) -> list[str]:
        """The words that let a command run in the task's namespace."""
        return inside(self._fabric.namespace(name)) if self._fabric is not None else []

    def stop(self, name: str, *, kill: bool = False) -> None:
        processes.stop(self._directory, [name], sign=signal.SIGKILL if kill else signal.SIGTERM)

    def signal(self, name: str, sign: int) -> None:
        pid = self.pid(name)
        if pid is not None:
            os.killpg(pid, sign)

    def pid(self, name: str) -> int | None:
        entry = state_file.read_state(self._directory)["processes"].get(name)
        return int(entry["pid"]) if entry is not None and state_file.alive(entry) else None

    def execute(self, name: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if self.pid(name) is None:
            raise Unavailable(f"{name} does not run", field="peer")
        around = self._around(name) if name in self._added else []
        return subprocess.run(
            [*around, *argv], capture_output=True, text=True, timeout=EXEC_S, check=False, cwd=self._directory
        )

    def close(self) -> list[str]:
        stopped = processes.stop(self._directory)
        if self._fabric is not None:
            self._fabric.close()
        return stopped
