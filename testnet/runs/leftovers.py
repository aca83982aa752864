"""Remembers which runs are under way, and removes what a run that died has left.

Law: only what carries the run's id is removed: its processes, containers, namespaces, mounted disks, sockets.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from p2p.base.errors import ConfigError
from p2p.base.files import write_file
from testnet import processes, state_file
from testnet.fabric import fabric
from testnet.fabric.commands import inside, member_name
from testnet.providers import containers
from testnet.runs import machine_faults


def register_folder() -> Path:
    """Where this user's runs are written down."""
    folder = Path(tempfile.gettempdir()) / f"folkmoot-testnet-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def sockets_folder(run: str) -> Path:
    """A new folder with a short path, for a run's sockets."""
    folder = register_folder() / run
    folder.mkdir(mode=0o700)
    return folder


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as it is written down."""

    run: str
    name: str  # of its manifest
    directory: str
    provider: str
    numbers: dict[str, int]  # of members that have a namespace, by name
    pid: int
    started: str  # when that process started, as the kernel counts

    def alive(self) -> bool:
        return state_file.alive({"pid": self.pid, "started": self.started})


def begin(run: str, name: str, directory: Path, provider: str, linked: Sequence[str]) -> None:
    """Write down that this process runs `run` in `directory`. linked: members with a namespace, in order."""
    numbers = {member: number for number, member in enumerate(linked)}
    entry = Entry(run, name, str(directory), provider, numbers, os.getpid(), state_file.started(os.getpid()))
    write_file(register_folder() / f"{run}.json", json.dumps(asdict(entry)).encode(), field="dir")


def entries() -> list[Entry]:
    found = []
    for file in sorted(register_folder().glob("*.json")):
        with suppress(FileNotFoundError):  # another run has just ended
            found.append(Entry(**json.loads(file.read_text())))
    return found


def under_way() -> list[Entry]:
    return [entry for entry in entries() if entry.alive()]


def end(run: str) -> None:
    """Everything of it is removed."""
    shutil.rmtree(register_folder() / run, ignore_errors=True)
    (register_folder() / f"{run}.json").unlink(missing_ok=True)


def sweep(say: Callable[[str], None]) -> int:
    """Remove what dead runs have left, and say so. Returns how many they were."""
    dead = [entry for entry in entries() if not entry.alive()]
    for entry in dead:
        removed = clean(entry.run, Path(entry.directory))
        say(f"a run of {entry.name} that died had left: {', '.join(removed) or 'nothing but its entry'}; removed")
    # what a removal on a busy machine has left behind; a run's id is a number, those of tests are not
    there = containers.runs() | fabric.runs()
    known = {entry.run for entry in entries()}  # looked up after the others, because a run is written down first
    for run in sorted(one for one in there - known if one.isdigit()):
        count = len(containers.remove(run)) + len(fabric.remove(run))
        say(f"{count} containers and namespaces of run {run}, which is over, were left; removed")
    return len(dead)


def log_of(directory: Path, name: str) -> Path:
    """The log of a member of a run, under way or over. Raises ConfigError that names those there are."""
    folder = directory / name
    for file in (folder / "log" / "peer.log", folder / "log.txt", directory / "log" / f"{name}.log"):
        if file.exists():
            return file
    known = sorted(path.name for path in directory.iterdir() if path.is_dir()) if directory.exists() else []
    raise ConfigError(f"{directory} has no log of {name}; there are {', '.join(known) or 'no peers'}", field="peer")


def command_inside(directory: Path, name: str, words: Sequence[str]) -> list[str]:
    """The command that runs `words` where a member of a run under way runs. Raises ConfigError."""
    entry = next((entry for entry in under_way() if entry.directory == str(directory)), None)
    if entry is None:
        raise ConfigError(f"no run is under way in {directory}; see: folkmoot testnet ls", field="dir")
    if entry.provider == "containers":
        return [containers.engine(), "exec", "--interactive", containers.name_of(entry.run, name), *words]
    if entry.numbers:
        if name not in entry.numbers:
            raise ConfigError(f"no such peer; there are {', '.join(entry.numbers)}", field="peer")
        return inside(member_name(entry.run, entry.numbers[name]), *words)
    return list(words)


def clean(run: str, directory: Path) -> list[str]:
    """Remove everything of a run but its folder of results. Returns what was there."""
    found = [f"process {name}" for name in processes.stop(directory)] if directory.exists() else []
    found += [f"container {name[:12]}" for name in containers.remove(run)]
    found += [f"namespace {name}" for name in fabric.remove(run)]
    for image in sorted(directory.glob("*.disk")):
        machine_faults.take_disk(image.with_suffix(""))
        found.append(f"disk {image.name}")
    end(run)
    return found
