"""Containers by podman or docker, whichever is there, on a network of the run's own.

Law: every container carries the run's label, and only containers with it are stopped or removed. Needs root, because
each one gets its cable from the fabric.

A container begins without a network and waits until its cable is there; then it runs as root of itself, sees only the
folders of its task, and has the limits of its group. What it prints goes to the task's log, which lies in one of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from p2p.base.errors import ConfigError, Unavailable
from testnet.fabric.commands import PREFIX
from testnet.fabric.fabric import Fabric
from testnet.providers import images
from testnet.providers.provider import EXEC_S, START_S, STOP_S, Task

LABEL = "folkmoot.run"
REMOVALS = 3  # times that a container's removal is tried
ROOT = Path(__file__).parents[2]
APP = "/app"  # where the program's source is inside
LINKED = "/run/folkmoot-linked"  # a file that is there once the cable is
# raising limits above the machine's own is refused in some places
LIMITS = ("--ulimit", "nofile=10000:20000", "--ulimit", "nproc=4000:4000")
SHARED_MEMORY = ("--shm-size", "1g")  # what vLLM's processes send each other; the default is 64 MiB
_WAIT = f'until [ -e {LINKED} ]; do sleep 0.05; done; log=$1; shift; exec "$@" >> "$log" 2>&1'


def engine() -> str:
    """`podman` or `docker`. Raises ConfigError where neither is there."""
    for name in ("podman", "docker"):
        if shutil.which(name):
            return name
    raise ConfigError(
        "containers need podman or docker (Debian: apt install podman runc netavark); "
        "the same manifest runs as processes with --provider local", field="provider",
    )


def name_of(run: str, task: str) -> str:
    """Of a task's container."""
    return f"{PREFIX}{run}-{task}"


def leftovers(run: str) -> list[str]:
    """Ids of a run's containers that are still there."""
    cli = shutil.which("podman") or shutil.which("docker")
    if cli is None:
        return []
    done = subprocess.run(
        [cli, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={run}"], capture_output=True, text=True,
        timeout=EXEC_S, check=False,
    )
    return done.stdout.split()


def runs() -> set[str]:
    """Ids of the runs that containers are left of."""
    cli = shutil.which("podman") or shutil.which("docker")
    if cli is None or os.geteuid() != 0:
        return set()
    done = subprocess.run(
        [cli, "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}"], capture_output=True, text=True,
        timeout=EXEC_S, check=False,
    )
    return {name.split("-")[1] for name in done.stdout.split() if name.startswith(PREFIX)}


def remove(run: str) -> list[str]:
    """Remove what a run has left; returns the containers' ids. On a busy machine one try is not always enough."""
    first = found = leftovers(run)
    for _ in range(REMOVALS):
        if not found:
            break
        with suppress(subprocess.TimeoutExpired):
            subprocess.run([engine(), "rm", "--force", *found], capture_output=True, timeout=EXEC_S, check=False)
        found = leftovers(run)
    return first


class ContainerProvider:
    def __init__(self, run: str, directory: Path, fabric: Fabric, *, engines: bool) -> None:
        """engines: some tasks need vLLM or torch, so the larger image is needed too."""
        self._run, self._directory, self._fabric, self._engines = run, directory, fabric, engines
        self._cli = engine()
        self._limited = True  # until a limit is refused here
        self._started: dict[str, Task] = {}

    def open(self) -> None:
        if os.geteuid() != 0:
            raise ConfigError("containers on a network of their own need root", field="provider")
        images.prepare(self._cli, engines=self._engines)
        self._fabric.open()

    def name(self, task: str) -> str:
        return name_of(self._run, task)

    def start(self, task: Task) -> None:
        self._call("rm", "--force", self.name(task.name), check=False)
        if task.linked:
            self._fabric.drop(task.name)  # of a container that was killed
        try:
            self._call(*self._command(task))
        except Unavailable:
            if not (self._limited and self._limits(task)):
                raise
            self._limited = False  # some machines have no controller for memory or processors
            self._call("rm", "--force", self.name(task.name), check=False)
            self._call(*self._command(task))
        self._started[task.name] = task
        pid = self._main_pid(task.name)
        if task.linked:
            self._fabric.add(task.name, pid)
        Path(f"/proc/{pid}/root{LINKED}").touch()

    def _command(self, task: Task) -> list[str]:
        """The words that start a task's container."""
        code = task.release or ROOT
        return [
            "run", "--detach", "--name", self.name(task.name), "--label", f"{LABEL}={self._run}", "--network", "none",
            *self._runtime(), *LIMITS, *(SHARED_MEMORY if task.engine else ()), *self._limits(task),
            "--workdir", APP, "--env", f"PYTHONPATH={APP}",
            *(word for part in ("p2p", "testnet", "bootstrap")
              for word in ("--volume", f"{code / part}:{APP}/{part}:ro")),
            *(word for folder in task.folders for word in ("--volume", f"{folder}:{folder}")),
            *(word for name, value in task.env.items() for word in ("--env", f"{name}={value}")),
            images.ENGINE if task.engine else images.PEER, "sh", "-c", _WAIT, "sh", str(task.log),
            "python3", "-m", *task.argv,
        ]

    def _runtime(self) -> list[str]:
        """crun refuses the hybrid cgroups that some machines have; runc does not."""
        return ["--runtime", "runc"] if self._cli == "podman" and shutil.which("runc") else []

    def _limits(self, task: Task) -> list[str]:
        words = []
        if task.memory_mib is not None:
            words += ["--memory", f"{task.memory_mib}m"]
        if task.cpus is not None:
            words += ["--cpus", f"{task.cpus:g}"]
        return words if self._limited else []

    def _call(self, *words: str, check: bool = True, seconds: float = START_S) -> str:
        done = subprocess.run([self._cli, *words], capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode:
            raise Unavailable(f"`{self._cli} {words[0]}` failed: {done.stderr.strip()[-500:]}", field="provider")
        return done.stdout

    def _main_pid(self, name: str) -> int:
        said = self._call("inspect", "--format", "{{.State.Pid}}", self.name(name), check=False).strip()
        if not said.isdigit() or said == "0":
            raise Unavailable(f"the container of {name} did not start", field="peer")
        return int(said)

    def stop(self, name: str, *, kill: bool = False) -> None:
        task = self._started.pop(name, None)
        if task is None:
            return
        pid = self.pid_of(task)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
            self._wait(pid)
        with suppress(subprocess.TimeoutExpired):  # `close` tries again
            self._call("rm", "--force", self.name(name), check=False)

    def _wait(self, pid: int) -> None:
        """Until a process has ended; what does not end in STOP_S is killed."""
        deadline = time.monotonic() + STOP_S
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def signal(self, name: str, sign: int) -> None:
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, sign)

    def pid(self, name: str) -> int | None:
        task = self._started.get(name)
        return self.pid_of(task) if task is not None else None

    def pid_of(self, task: Task) -> int | None:
        said = self._call("inspect", "--format", "{{json .State}}", self.name(task.name), check=False).strip()
        state = json.loads(said) if said else {}
        return int(state["Pid"]) if state.get("Running") and state.get("Pid") else None

    def execute(self, name: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if self.pid(name) is None:
            raise Unavailable(f"{name} does not run", field="peer")
        return subprocess.run(
            [self._cli, "exec", self.name(name), *argv], capture_output=True, text=True, timeout=EXEC_S, check=False
        )

    def close(self) -> list[str]:
        pids = {name: self.pid(name) for name in self._started}
        running = [name for name, pid in pids.items() if pid is not None]
        for sign in (signal.SIGCONT, signal.SIGTERM):
            for pid in filter(None, pids.values()):
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
        for name in list(self._started):
            self.stop(name)
        remove(self._run)
        self._fabric.close()
        return running
