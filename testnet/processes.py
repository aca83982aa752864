"""Processes of a test network on this machine: started, watched, stopped.

Law: what was started is written down in DIR/testnet.json, and only that is stopped. It ends with whoever made the
network, also where that is killed (guard.py), unless the network is to stay.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from p2p.base.default_model import DEFAULT_MODEL
from p2p.base.errors import ConfigError, FolkmootError, Unavailable
from p2p.base.files import make_folder, open_output, write_file
from p2p.lab.settings import FILE as LAB_FILE
from p2p.peer.control import call
from testnet.state_file import STATE, alive, read_state, started

READY_TIMEOUT_S = 120.0  # for a peer to get to a state
ML_NODE_TIMEOUT_S = 420.0  # for a vLLM to load its model
STOP_TIMEOUT_S = 15.0  # then what does not end is killed
LOWEST = 19  # niceness
HONEST, LAB = ("p2p", "serve"), ("p2p", "lab-peer")
Say = Callable[[str], None]


def start(name: str, argv: Sequence[str], log: Path, directory: Path) -> int:
    """Start `python -m ARGV` in a process group of its own and write it down under `name`. Returns its process id."""
    return launch(name, [sys.executable, "-m", *argv], log, directory)


def launch(
    name: str, command: Sequence[str], log: Path, directory: Path, *, env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Start a command as `start` does. env: all of its environment; None: this process's."""
    make_folder(log.parent)
    with interrupts_held(), os.fdopen(open_output(log, os.O_APPEND), "ab") as out:
        pid = spawn(command, out.fileno(), env, cwd)
        write_down(name, pid, command, directory)
    return pid


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of this: a process that was started and not written down is stopped by
    nobody."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {
        sign: signal.signal(sign, lambda number, frame: caught.append(number))
        for sign in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(sign))
    }
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        if caught:
            signal.raise_signal(caught[0])


def popen(command: Sequence[str], out: int, env: Mapping[str, str] | None, cwd: Path | None) -> int:
    """Start a command in a group of its own. out: where both its outputs go. Returns its process id."""
    return subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=env, cwd=cwd
    ).pid


spawn = popen  # tests start many processes, and put a quicker way here (tests/warm.py)


def write_down(name: str, pid: int, command: Sequence[str], directory: Path) -> None:
    """A process that leads a group of its own belongs to this network."""
    state = read_state(directory)
    state["processes"][name] = {"pid": pid, "argv": list(command), "started": started(pid)}
    write_state(directory, state)


def write_state(directory: Path, state: dict[str, Any]) -> None:
    write_file(directory / STATE, json.dumps(state, indent=1).encode(), field="dir")


def give_way(pid: int) -> None:
    """Let a process have only the processors' idle time: it plays a part that has a machine or a GPU of its own in a
    real network. Where the kernel groups processes by session, niceness counts within a group alone, so the group's is
    set too."""
    os.setpriority(os.PRIO_PROCESS, pid, LOWEST)
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(LOWEST))
    except OSError:  # a kernel without such groups
        return


def stop(directory: Path, names: Sequence[str] | None = None, *, sign: int = signal.SIGTERM) -> list[str]:
    """Stop the processes `names`, or all that were written down. Returns the names of those that were still running.

    sign: the signal that each process group gets; SIGKILL follows after STOP_TIMEOUT_S.
    """
    state = read_state(directory)
    chosen = {n: e for n, e in state["processes"].items() if names is None or n in names}
    running = {n: e for n, e in chosen.items() if alive(e)}
    for entry in running.values():
        _kill(entry, sign)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(map(alive, running.values())) and time.monotonic() < deadline:
        _reap(running)
        time.sleep(0.05)
    for entry in running.values():
        if alive(entry):
            _kill(entry, signal.SIGKILL)
    _reap(running)
    for name in chosen:
        del state["processes"][name]
    write_state(directory, state)
    return sorted(running)


def _kill(entry: dict[str, Any], sign: int) -> None:
    try:
        os.killpg(entry["pid"], sign)
    except ProcessLookupError:
        return


def _reap(entries: dict[str, Any]) -> None:
    """Collect the exit status of those that are children of this process: until then they are zombies."""
    for entry in entries.values():
        try:
            os.waitpid(entry["pid"], os.WNOHANG)
        except ChildProcessError:
            continue


def start_peer(
    directory: Path, folder: Path, bootstrap: str | None, ml_node: str | None, *, command: Sequence[str] | None = None
) -> None:
    """Start one peer.

    bootstrap: multiaddr of a peer to begin with; None for the first one. ml_node: URL. command: module and arguments
    before --dir; None: `folkmoot serve`, or `folkmoot lab-peer` where the folder has a lab.toml.
    """
    command = command or (LAB if (folder / LAB_FILE).exists() else HONEST)
    argv = [*command, "--dir", str(folder)]
    argv += ["--bootstrap", bootstrap] if bootstrap else []
    argv += ["--ml-node", ml_node] if ml_node else []
    start(folder.name, argv, folder / "log" / "peer.log", directory)


def wait_until(directory: Path, folder: Path, good: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """Poll a peer's status until it is `good`; returns it. what: the state that is waited for, for people.

    Raises Unavailable with the end of the peer's log when it has ended or READY_TIMEOUT_S are over.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        entry = read_state(directory)["processes"].get(folder.name)
        if entry is None or not alive(entry):
            break
        try:
            status = call(folder, {"op": "status"})
            if good(status):
                return status
        except FolkmootError:
            pass  # its socket is not there yet
        time.sleep(0.1)
    log = folder / "log" / "peer.log"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
    raise Unavailable(f"{folder.name} did not get to '{what}'; its log ends with:\n{tail}", field=folder.name)


def up(
    directory: Path, folders: Sequence[Path], ml_nodes: dict[str, str], say: Say, *,
    command: Sequence[str] | None = None,
) -> str:
    """Start all peers, each told of the first one's address alone, and wait until they are ready. Returns that address.

    ml_nodes: name of a peer's folder -> URL. command: as for start_peer.
    """
    bootstrap = ""
    for number, folder in enumerate(folders, 1):
        start_peer(directory, folder, bootstrap or None, ml_nodes.get(folder.name), command=command)
        if not bootstrap:
            bootstrap = wait_until(directory, folder, lambda s: bool(s["addresses"]), "listening")["addresses"][0]
        say(f"peer {number}/{len(folders)} started")
    state = read_state(directory)
    wanted = min(4, len(folders) - 1)
    for number, folder in enumerate(folders, 1):
        status = wait_until(directory, folder, lambda s: s["state"] == "ready" and s["connections"] >= wanted, "ready")
        state["addresses"][folder.name] = status["addresses"][0]
        say(f"peer {number}/{len(folders)} ready: {status['connections']} connections, height {status['height']}")
    state = {**read_state(directory), "addresses": state["addresses"]}
    write_state(directory, state)
    return bootstrap


def start_ml_node(
    directory: Path, name: str, model: Path, say: Say, *, serves: str = DEFAULT_MODEL,
    module: str = "p2p.inference.vllm.server", flags: Sequence[str] = (),
) -> str:
    """Start an ML node, pass on its lines of progress, and wait for its line `ready URL`. Returns the URL.

    serves: the model's name in requests. flags: more of vLLM's own. Raises Unavailable when it ends, or is not ready
    within ML_NODE_TIMEOUT_S.
    """
    log = directory / "log" / f"{name}.out"
    argv = [module, "--model", str(model), "--name", serves, "--log", str(directory / "log" / f"{name}.log"), *flags]
    start(name, argv, log, directory)
    shown, deadline = 0, time.monotonic() + ML_NODE_TIMEOUT_S
    while time.monotonic() < deadline:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[shown:]:
            if line.startswith("ready "):
                return line.removeprefix("ready ").strip()
            shown += 1
            say(f"{name}: {line}")
        if not alive(read_state(directory)["processes"][name]):
            raise Unavailable(f"{name} ended while it loaded; its log {log} says why", field="ml_node")
        time.sleep(0.2)
    raise Unavailable(f"{name} was not ready in {ML_NODE_TIMEOUT_S:.0f} s; its log {log} says why", field="ml_node")


def fresh_directory(directory: Path, *, stays: bool = False) -> None:
    """Make `directory` the empty folder of a new network. stays: it goes on when this process has ended.

    Raises ConfigError where a network still runs there, or where it holds anything but a test network.
    """
    import shutil

    if any(alive(entry) for entry in read_state(directory)["processes"].values()):
        raise ConfigError(
            f"a network runs in {directory} already; stop it with: folkmoot testnet down --dir {directory}", field="dir"
        )
    if directory.exists() and not (directory / STATE).exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} holds other files than a test network's; give a new folder", field="dir")
    shutil.rmtree(directory, ignore_errors=True)
    make_folder(directory)
    write_state(directory, {"processes": {}, "addresses": {}})
    if not stays:
        _guards[directory] = subprocess.Popen(
            [sys.executable, "-m", "testnet.guard", str(directory.absolute())], stdin=subprocess.PIPE,
            start_new_session=True,
        )


def release(directory: Path) -> None:
    """The network is over: nobody has to guard it any more. What still runs is killed."""
    if (guard := _guards.pop(directory, None)) is not None:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


_guards: dict[Path, subprocess.Popen[bytes]] = {}  # each waits for the end of a pipe that this process holds
