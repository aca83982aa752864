"""The five honest peers, the honest client and the attackers, as processes.

Law: what is started here is stopped here, and everything is measured from outside: the kernel's memory figures, the
peers' own status, what the client got.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p.base.errors import FolkmootError
from p2p.base.genesis import GenesisAccount
from p2p.base.keys import Key
from p2p.peer.control import call
from testnet.generate import Plan, generate
from testnet.processes import fresh_directory, start, start_peer, stop, up, wait_until, write_down
from testnet.state_file import alive, read_state
from tests.net_lab import until
from tests.verification import toy

HONEST = 5
SAMPLE_S = 0.25  # between two samples
RICH, RICH_MICRO = 12, 1_000_000_000  # accounts of the attacker; what each has
BLOCK_MS = 800  # between two heights, with or without transactions, so that a slow chain shows


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen of the honest peers at one moment; -1 where a peer did not answer."""

    at: float  # seconds since 1970
    heights: tuple[int, ...]  # by peer
    rss: tuple[int, ...]  # resident memory by peer, bytes


@dataclass(frozen=True, slots=True)
class Attacker:
    """A stranger at work."""

    name: str  # its file in strangers/
    process: subprocess.Popen[str]
    reports: list[dict[str, Any]] = field(default_factory=list)  # what it has done so far, one report a second


@dataclass(slots=True)
class Field:
    """A running network of honest peers. The sixth peer of the genesis file is the attacker's; only some attacks run
    it.
    """

    directory: Path
    cheat: str = ""  # what the sixth peer runs as; '' for an attack that needs none
    folders: list[Path] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)  # what the honest client got: lines of prober.py
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _rich: list[Key] = field(default_factory=list)
    _bootstrap: str = ""
    _url: str = ""

    def open(self, every_s: float) -> None:
        """Start everything that is honest. every_s: seconds between two questions of the client."""
        fresh_directory(self.directory)
        rich = [Key.generate() for _ in range(RICH)]
        self.folders = generate(Plan(
            self.directory, HONEST + 1, accounts=tuple(GenesisAccount(key.public, RICH_MICRO) for key in rich),
            settings=(*toy.files().items(), ("block_interval_ms", BLOCK_MS), ("empty_block_interval_ms", BLOCK_MS)),
            cheats={HONEST: self.cheat} if self.cheat else {},
        ))
        log = self.directory / "log" / "ml.log"
        start("ml", ["testnet.simulated_engine", "--port", "0"], log, self.directory)
        url = str(until(lambda: [x for x in log.read_text().split() if x.startswith("http")])[0])
        honest = self.folders[:HONEST]
        self._bootstrap = up(self.directory, honest, {folder.name: url for folder in honest}, lambda text: None)
        self._url, self._rich = url, rich
        self._write_target(rich)
        self._thread(self._watch)
        self._spawn("tests.redteam.prober", str(every_s), read=self.answers)

    def _write_target(self, rich: list[Key], address: str = "") -> None:
        """What strangers and client know (target.py). address: of the attacker's own peer, once it runs."""
        hostile = self.folders[HONEST]
        addresses = [call(folder, {"op": "status"})["addresses"][0] for folder in self.folders[:HONEST]]
        (self.directory / "target.json").write_text(json.dumps({
            "addresses": addresses, "genesis": str(hostile / "genesis.cbor"),
            "validator": (hostile / "node.key").read_text().strip(),
            "owner": (hostile / "account.key").read_text().strip(), "rich": [key.seed.hex() for key in rich],
            "directory": str(self.directory), "hostile": address,
        }))

    def _spawn(self, module: str, *words: str, read: list[dict[str, Any]] | None = None) -> subprocess.Popen[str]:
        at = 1 if module.endswith("stranger") else 0
        argv = [*words[:at], str(self.directory / "target.json"), *words[at:]]
        log = (self.directory / "log" / f"{module.rsplit('.', 1)[1]}.log").open("a")
        child = subprocess.Popen(
            [sys.executable, "-m", module, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            text=True, start_new_session=True,
        )
        self._children.append(child)
        write_down(f"{module}-{child.pid}", child.pid, argv, self.directory)
        if read is not None:
            self._thread(lambda: self._read(child, read))
        return child

    def _thread(self, run: Any) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read(self, child: subprocess.Popen[str], into: list[dict[str, Any]]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            into.append(json.loads(line))

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            heights, rss = tuple(map(self.height, range(HONEST))), tuple(map(self._rss, range(HONEST)))
            self.samples.append(Sample(time.time(), heights, rss))

    def height(self, number: int) -> int:
        """Of one honest peer; -1 where it does not answer."""
        try:
            return int(call(self.folders[number], {"op": "status"})["height"])
        except FolkmootError:
            return -1

    def _rss(self, number: int) -> int:
        entry = read_state(self.directory)["processes"].get(self.folders[number].name)
        if entry is None or not alive(entry):
            return -1
        for line in Path(f"/proc/{entry['pid']}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        return -1

    # -- attackers -------------------------------------------------------------------------------------------------

    def attack(self, name: str) -> Attacker:
        """Start a stranger, and before it the attacker's own peer where it has one. Returns when it has begun."""
        if self.cheat:
            hostile = self.folders[HONEST]
            start_peer(self.directory, hostile, self._bootstrap, self._url)
            status = wait_until(self.directory, hostile, lambda s: s["state"] == "ready", "ready")
            self._write_target(self._rich, status["addresses"][0])
        attacker = Attacker(name, self._spawn("tests.redteam.stranger", name))
        assert attacker.process.stdout is not None
        line = attacker.process.stdout.readline()
        assert line.strip() == "ready", f"the stranger {name} did not start: {self._stranger_log()}"
        self._thread(lambda: self._read(attacker.process, attacker.reports))
        return attacker

    def did(self, attacker: Attacker) -> dict[str, int]:
        """What the stranger has done so far.

        Raises AssertionError where it has ended by itself or has done nothing: then it would prove nothing.
        """
        ended = attacker.process.poll() is not None
        assert not ended, f"the stranger {attacker.name} ended by itself: {self._stranger_log()}"
        found = attacker.reports[-1] if attacker.reports else {}
        works = self.cheat or found.get("done", 0) or found.get("ticks", 0)
        assert works, f"the stranger {attacker.name} does nothing: {self._stranger_log()}"
        return found

    def _stranger_log(self) -> str:
        return (self.directory / "log" / "stranger.log").read_text()[-2000:]

    def end(self, attacker: Attacker) -> None:
        self._kill(attacker.process)
        if self.cheat:
            stop(self.directory, [self.folders[HONEST].name], sign=signal.SIGKILL)

    def _kill(self, child: subprocess.Popen[str]) -> None:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    # -- what the peers say -----------------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        """Public node keys of all six peers, hexadecimal."""
        return [Key.load(folder / "node.key").public.hex() for folder in self.folders]

    def status(self, number: int) -> dict[str, Any]:
        return call(self.folders[number], {"op": "status"})

    def conduct(self) -> dict[str, dict[str, Any]]:
        """What the chain holds against each participant, by node key, as the first peer that answers has it."""
        for folder in self.folders[:HONEST]:
            try:
                return {row["node"]: row for row in call(folder, {"op": "verification"})["participants"]}
            except FolkmootError:
                continue
        return {}

    def refused(self, node: str) -> list[str]:
        """Why answers of `node` were refused in this epoch, as the first peer's chain has it."""
        rows = call(self.folders[0], {"op": "earnings", "epoch": 0, "node": node, "start": 0})["inferences"]
        return [
            f"{node[:8]}: {row['id'][:12]} {row['status']}: {row['reason']}"
            for row in rows if row["rule"] in ("M3", "M15")
        ]

    def died(self) -> list[str]:
        """Names of the honest peers whose process has ended."""
        processes = read_state(self.directory)["processes"]
        return [folder.name for folder in self.folders[:HONEST] if not alive(processes[folder.name])]

    def close(self) -> None:
        self._over.set()
        for child in self._children:
            self._kill(child)
        stop(self.directory)
