"""Processes of tests without the second of imports that each would begin with: forked from one that has imported them.

Law: they are processes like others, each with an id, a group, a session and an address space of its own; they run
`python -m MODULE` from its first line, and end by themselves. Only importing is shared.

A parent forks and does nothing else, so it has no thread whose locks a child could inherit. There are two parents,
whose children take turns: their sets and dictionaries of words are in another order, as in processes that were started
one by one. So what depends on that order shows itself in every network (SEEDS). The parents end with the test process.

    install()                                      # from now on testnet/processes.py starts its modules here
    run([sys.executable, "-m", "p2p", "ask", ...])   # like subprocess.run with captured output

`python -m tests.warm` is a parent: it reads requests at its standard input, which is a socket.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testnet import processes

SEEDS = ("1", "2")  # of the hashes of words, one for each parent
# what is started here
MODULES = ("p2p", "testnet.simulated_engine", "p2p.inference.vllm.server", "bootstrap.seed", "tests.nat_lab")
# what these import when they run
IMPORTED = (
    "p2p.cli.main", "p2p.cli.questions", "p2p.peer.node", "p2p.peer.ml_node", "p2p.peer.checkup", "p2p.lab.roles",
    "p2p.joining.way", "p2p.joining.ping", "p2p.client.client", "p2p.client.inspection", "p2p.gateway.serving",
    "p2p.gateway.client_backend", "p2p.explorer.serving", "p2p.explorer.app",
    "testnet.simulated_engine", "p2p.inference.vllm.server", "bootstrap.seed", "tests.nat_lab",
)
MOST = 1 << 17  # bytes of a request
START_S = 300.0  # for a process to be there
NEW_NETWORK = 0x40000000  # CLONE_NEWNET of setns(2)


@dataclass(frozen=True, slots=True)
class Start:
    """A process to be started. namespace: path of a network namespace to enter first."""

    words: list[str]  # after `python -m`
    env: dict[str, str]
    cwd: str
    namespace: str = ""


def asked(command: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None) -> Start | None:
    """What to start for a command; None where it is another program, which has to be started as usual."""
    words, namespace = list(command), ""
    if words[0] == "nsenter" and words[1].startswith("--net="):
        namespace, words = words[1].removeprefix("--net="), words[2:]
    if words[:2] != [sys.executable, "-m"] or words[2] not in MODULES:
        return None
    return Start(words[2:], dict(os.environ if env is None else env), str(cwd or Path.cwd()), namespace)


@dataclass(slots=True)
class Parent:
    """A parent, seen from the test process."""

    process: subprocess.Popen[bytes]
    to: socket.socket

    @classmethod
    def new(cls, seed: str) -> Parent:
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm"], stdin=its, start_new_session=True,
                cwd=Path(__file__).parent.parent, env={**os.environ, "PYTHONHASHSEED": seed},
            )
        return cls(process, own)

    def start(self, what: Start, files: Sequence[int]) -> tuple[int, socket.socket]:
        """Its process id, once it leads a group of its own, and where its exit status comes. files: standard input,
        output, error."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            request = json.dumps([what.words, what.env, what.cwd, what.namespace]).encode()
            assert len(request) < MOST
            socket.send_fds(self.to, [request], [*files, its.fileno()])
        own.settimeout(START_S)
        answer = own.recv(64)
        own.settimeout(None)
        assert answer.isdigit(), f"the parent of the tests' processes did not start {what.words}"
        return int(answer), own


_parents: list[Parent] = []
_turn = 0


def start(what: Start, files: Sequence[int]) -> tuple[int, socket.socket]:
    """Start it at the parent whose turn it is. The parents are there from the first time on."""
    global _turn
    if not _parents:
        _parents.extend(map(Parent.new, SEEDS))
    _turn += 1
    return _parents[_turn % len(_parents)].start(what, files)


def spawn(command: Sequence[str], out: int, env: Mapping[str, str] | None, cwd: Path | None) -> int:
    """As testnet/processes.py starts a process: nobody writes to it or waits for it. Returns its id."""
    what = asked(command, env, cwd)
    if what is None:
        return processes.popen(command, out, env, cwd)
    with Path(os.devnull).open() as nothing:
        pid, status = start(what, (nothing.fileno(), out, out))
    status.close()
    return pid


def run(command: Sequence[str], timeout_s: float, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Like subprocess.run with text and captured output, which it is where nothing was installed. Raises
    subprocess.TimeoutExpired; the process is killed."""
    what = asked(command, None, cwd)
    if what is None or processes.spawn is not spawn:
        return subprocess.run(
            list(command), capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd
        )
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with Path(os.devnull).open() as nothing:
        pid, status = start(what, (nothing.fileno(), out_end, err_end))
    os.close(out_end)
    os.close(err_end)
    said: dict[int, bytes] = {}
    readers = [threading.Thread(target=_read, args=(end, said), daemon=True) for end in (out, err)]
    for reader in readers:
        reader.start()
    with status:
        if not select.select([status], [], [], timeout_s)[0]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(command), timeout_s)
        code = int(status.recv(64))
    for reader in readers:
        reader.join(timeout_s)
    return subprocess.CompletedProcess(list(command), code, said[out].decode(), said[err].decode())


def _read(end: int, said: dict[int, bytes]) -> None:
    with os.fdopen(end, "rb") as file:
        said[end] = file.read()


def install() -> None:
    """Networks of this process start their peers and engines here, and `run` its commands. Benches do not: they measure
    what users start."""
    processes.spawn = spawn


# -- the parent ----------------------------------------------------------------------------------------------------


def main() -> list[str]:
    """Fork for each request until the test process has ended. Returns in a child: the words of its command line."""
    import importlib

    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is imported stays in the pages that all share
    requests = socket.socket(fileno=os.dup(0))
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wakes)
    waiting: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(waiting)
        if requests not in ready:
            continue
        data, files, _, _ = socket.recv_fds(requests, MOST, 4)
        if not data:
            os._exit(0)
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            others = [requests.fileno(), woken, wakes, *(one.fileno() for one in waiting.values())]
            return _become(json.loads(data), files, others)
        for file in files[:3]:
            os.close(file)
        waiting[pid] = socket.socket(fileno=files[3])


def _reap(waiting: dict[int, socket.socket]) -> None:
    """Tell of every child that has ended how it did: as subprocess does, -N where signal N ended it."""
    while waiting:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with waiting.pop(pid) as to, suppress(OSError):  # the test may not wait for it
            to.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: tuple[list[str], dict[str, str], str, str], files: list[int], others: list[int]) -> list[str]:
    """Be a process of its own. others: files of the parent."""
    words, env, cwd, namespace = request
    for one in others:
        os.close(one)
    os.setsid()
    for at, file in enumerate(files[:3]):
        os.dup2(file, at)
        os.close(file)
    if namespace:
        with Path(namespace).open() as place:
            if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns", namespace)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = cwd
    with socket.socket(fileno=files[3]) as test:
        test.send(str(os.getpid()).encode())
    return words


if __name__ == "__main__":
    sys.argv = main()
    sys.modules.pop(sys.argv[0], None)  # it runs now, from its first line
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
