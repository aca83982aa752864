"""`make chaos`: seven real peers, of which some are killed or paused every few seconds and come back, for five minutes.

Law: no fork, and the chain always continues. It prints its seed and what it does. After each round every peer's height
must grow; at the end all blocks and app hashes are compared.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules
from p2p.peer.control import call
from testnet.generate import Plan, generate
from testnet.processes import start_peer, stop, up, wait_until
from testnet.state_file import read_state

HEAL_S = 90.0  # within this time after a round every height must have grown


class Chaos:
    """A network of `peers` real peers in `directory`, and what is done to it; the seed fixes the choices."""

    def __init__(self, directory: Path, peers: int, seed: int) -> None:
        self.directory, self.rng, self.peers = directory, random.Random(seed), peers
        self.folders = generate(Plan(
            directory, peers, serving=False, settings=(("expected_size", peers),), epoch_blocks=20, validation_window=4,
            checks=CheckRules(reveal_window=4, appeal_window=0),
        ))
        up(directory, self.folders, {}, lambda text: None)
        self.started = time.monotonic()
        self.counts = {"kill": 0, "pause": 0}

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)

    def height(self, number: int) -> int:
        return int(call(self.folders[number], {"op": "status"})["height"])

    def pid(self, number: int) -> int:
        return int(read_state(self.directory)["processes"][self.folders[number].name]["pid"])

    def kill(self, number: int) -> Callable[[], None]:
        """End a peer without a word. Returns what brings it back."""
        stop(self.directory, [self.folders[number].name], sign=signal.SIGKILL)

        def back() -> None:
            others = [n for n in range(self.peers) if n != number]
            address = next(a for a in (self._address(n) for n in others) if a)
            start_peer(self.directory, self.folders[number], address, None)

        return back

    def _address(self, number: int) -> str:
        try:
            return str(call(self.folders[number], {"op": "status"})["addresses"][0])
        except FolkmootError:
            return ""

    def pause(self, number: int) -> Callable[[], None]:
        """Stop a peer's process where it is. Returns what lets it continue."""
        pid = self.pid(number)
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def round(self) -> None:
        """Kill or pause some peers, wait, bring them back in another order, and wait until every height has grown."""
        rng = self.rng
        victims = rng.sample(range(self.peers), rng.choice((1, 1, 2, 2, 3)))
        healing = []
        for number in victims:
            name = rng.choice(("kill", "pause"))
            self.counts[name] += 1
            healing.append(
                (f"{name} {self.folders[number].name}", {"kill": self.kill, "pause": self.pause}[name](number))
            )
        self.say(", ".join(what for what, _ in healing))
        time.sleep(rng.uniform(1.0, 6.0))
        rng.shuffle(healing)
        # the paused first: somebody must be there to dial
        for _, back in sorted(healing, key=lambda item: item[0].startswith("kill")):
            back()
        for number in victims:
            wait_until(self.directory, self.folders[number], lambda s: s["state"] == "ready", "ready")
        before = max(self.height(n) for n in range(self.peers))
        deadline = time.monotonic() + HEAL_S
        while min(self.height(n) for n in range(self.peers)) <= before:
            if time.monotonic() > deadline:
                heights = [self.height(n) for n in range(self.peers)]
                raise AssertionError(f"no growth in {HEAL_S:.0f} s after the heal: {heights}, {before} before")
            time.sleep(0.2)
        self.say(f"healed: all above height {before}")

    def compare(self) -> int:
        """Compare block and app hash of all peers at every height. Returns the number of heights; AssertionError on a
        fork.
        """
        top = min(self.height(n) for n in range(self.peers))
        for at in range(1, top + 1):
            seen = {(b["block_id"], b["app_hash"]) for b in (self._block(n, at) for n in range(self.peers)) if b}
            if len(seen) != 1:
                raise AssertionError(f"fork at height {at}: {seen}")
        return top

    def _block(self, number: int, at: int) -> dict[str, str] | None:
        try:
            return call(self.folders[number], {"op": "block", "height": at})
        except FolkmootError:
            return None  # below the snapshot it began at


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.chaos", description=__doc__)
    parser.add_argument("--peers", type=int, default=7, help="peers of the network (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is done (default: the time)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="folkmoot-chaos-") as folder:
        directory = Path(folder) / "net"
        directory.mkdir()
        try:
            chaos = Chaos(directory, options.peers, options.seed)
            rounds, end = 0, time.monotonic() + options.seconds
            while time.monotonic() < end:
                chaos.round()
                rounds += 1
            compared = chaos.compare()
            print(
                f"{rounds} rounds, {chaos.counts['kill']} kills, {chaos.counts['pause']} pauses in "
                f"{time.monotonic() - chaos.started:.0f} s: "
                f"{compared} heights compared on {options.peers} peers, forks 0, grew after every heal"
            )
        except AssertionError as error:
            print(f"FAILED: {error}")
            return 1
        finally:
            stop(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
