"""`make failover`: streams of answers, and in each somebody is killed in the middle. No token may be missing or other.

Real peers in real processes, a client that keeps several of them, SIMULATED engines whose answer to a seed is known.
Kinds: the executor's process is killed; its engine is killed; it hangs (SIGSTOP: to others it looks like a network that
is cut); the agent's process is killed. One line for each kind: answers complete, tokens that differ, longest gap.

    python -m tests.tools.failover [--streams 100] [--agents 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.keys import public_key_of
from p2p.base.types import Params
from p2p.client.client import Client
from p2p.client.events import Accepted, Done, Resumed, Token, Trying
from p2p.client.question import Question
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification.tape import seed_of
from testnet.processes import start, start_peer, stop
from testnet.simulated_calibration import generate
from testnet.simulated_engine import BYTE_BASE, Toy
from testnet.state_file import read_state
from tests.net_lab import Net, until

PEERS, DELAY_S = 7, "0.02"
TOKENS, KILL_AFTER = 40, (3, 20)  # of an answer; tokens shown before the kill, at least and at most
KINDS = ("process", "engine", "hang")
AGENT = "agent"
GAP_S = 2.0  # the goal


@dataclass
class Found:
    """One kind of kill."""

    streams: int = 0
    complete: int = 0
    differ: int = 0  # tokens
    gap_s: float = 0.0  # the longest between two tokens
    errors: list[str] = field(default_factory=list)
    said: int = 0  # of the errors


@dataclass
class Scene:
    """The network while it is disturbed."""

    net: Net
    rng: random.Random
    wounded: tuple[str, int] | None = None  # (kind, peer)

    def number_of(self, node: bytes) -> int:
        return next(at for at in range(PEERS) if bytes.fromhex(self.net.node(at)) == node)

    def strike(self, kind: str, peer: int) -> None:
        folder = self.net.folders[peer].name
        if kind == "engine":
            stop(self.net.directory, [f"ml{peer}"], sign=signal.SIGKILL)
        elif kind == "hang":
            os.killpg(read_state(self.net.directory)["processes"][folder]["pid"], signal.SIGSTOP)
        else:
            stop(self.net.directory, [folder], sign=signal.SIGKILL)
        self.wounded = (kind, peer)

    def is_well(self, peer: int) -> bool:
        found = self.net.status(peer)
        return found["state"] == "ready" and found["connections"] >= 3

    def heal(self) -> None:
        """All as before; waits until the peer serves again."""
        if self.wounded is None:
            return
        (kind, peer), self.wounded = self.wounded, None
        folder = self.net.folders[peer]
        if kind == "engine":
            port = self.net.urls[folder.name].rsplit(":", 1)[1]
            log = self.net.directory / "log" / f"ml{peer}.log"
            argv = ["testnet.simulated_engine", "--port", port, "--delay-s", DELAY_S]
            start(f"ml{peer}", argv, log, self.net.directory)
        elif kind == "hang":
            os.killpg(read_state(self.net.directory)["processes"][folder.name]["pid"], signal.SIGCONT)
        else:
            other = self.net.address(0 if peer else 1)
            start_peer(self.net.directory, folder, other, self.net.urls[folder.name])
        until(lambda: self.is_well(peer), 120)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def expected(text: str, seed: bytes, count: int) -> list[int]:
    """The answer's tokens, from the simulated model itself."""
    prompt = (1, *(BYTE_BASE + byte for byte in text.encode()))
    return [step.token for step in generate(Toy(1), count, Params(1000, seed=seed), seed, prompt)]


async def stream(scene: Scene, client: Client, kind: str, number: int, found: Found) -> None:
    """One answer with one kill."""
    text, seed = f"stream number {number}", seed_of(number)
    wanted = expected(text, seed, TOKENS)
    question = Question(DEFAULT_MODEL, one_message(text), Params(1000, seed=seed), TOKENS)
    strike_at = scene.rng.randint(*KILL_AFTER)
    tokens: list[int] = []
    executor = agent = b""
    struck, is_done, last = False, False, trio.current_time()
    found.streams += 1
    try:
        with trio.fail_after(120):
            async with client.answer(question) as events:
                async for event in events:
                    if isinstance(event, Accepted):
                        agent = event.agent
                    elif isinstance(event, Trying):
                        executor = event.node
                    elif isinstance(event, Resumed):
                        agent = public_key_of(event.peer)
                    elif isinstance(event, Token):
                        now = trio.current_time()
                        if tokens:
                            found.gap_s = max(found.gap_s, now - last)
                        last = now
                        tokens.append(event.token)
                        if len(tokens) >= strike_at and not struck:
                            struck = True
                            victim = agent if kind == AGENT else executor
                            await trio.to_thread.run_sync(scene.strike, kind, scene.number_of(victim))
                    elif isinstance(event, Done):
                        is_done = event.receipt.checked
                        found.errors += event.receipt.problems
    except (FolkmootError, trio.TooSlowError) as error:
        found.errors.append(f"stream {number}: {error}")
    found.complete += is_done and len(tokens) == len(wanted)
    found.differ += abs(len(tokens) - len(wanted))
    found.differ += sum(one != other for one, other in zip(tokens, wanted, strict=False))
    await trio.to_thread.run_sync(scene.heal)


async def play(scene: Scene, kinds: list[str]) -> dict[str, Found]:
    found: dict[str, Found] = defaultdict(Found)
    started = time.monotonic()
    peers = [scene.net.address(at) for at in range(PEERS)]
    async with Client.open(scene.net.directory / "client", peers=peers) as client:
        for number, kind in enumerate(kinds, 1):
            await stream(scene, client, kind, number, found[kind])
            row = found[kind]
            say = f"{kind}: {row.complete} of {row.streams} complete, {row.differ} tokens differ, gap {row.gap_s:.2f} s"
            print(f"[{time.monotonic() - started:5.0f} s] {number}/{len(kinds)} {say}", file=sys.stderr, flush=True)
            for error in row.errors[row.said :]:
                print(f"    {error}", file=sys.stderr, flush=True)
            row.said = len(row.errors)
    return dict(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100, help="with the executor struck, kinds in turn")
    parser.add_argument("--agents", type=int, default=50, help="with the agent killed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the network is stopped too
    kinds = [KINDS[at % len(KINDS)] for at in range(options.streams)] + [AGENT] * options.agents
    random.Random(options.seed).shuffle(kinds)
    print(f"seed {options.seed}: {len(kinds)} streams, {PEERS} peers")
    with tempfile.TemporaryDirectory(prefix="folkmoot-failover-") as folder:
        # a peer that is started again listens where it did, as real ones do
        listen = {at: {"listen": [f"/ip4/127.0.0.1/tcp/{free_port()}"]} for at in range(PEERS)}
        flags = {at: ["--delay-s", DELAY_S] for at in range(PEERS)}
        net = Net(Path(folder) / "net", PEERS, flags=flags, own=listen)
        try:
            found = trio.run(play, Scene(net, random.Random(options.seed)), kinds)
        finally:
            net.close()
    print(f"{'struck':10}{'streams':>9}{'complete':>10}{'tokens differ':>15}{'longest gap s':>15}")
    good = True
    for kind, row in sorted(found.items()):
        held = row.complete == row.streams and not row.differ
        good &= held
        missed = "" if held and row.gap_s <= GAP_S else "   <- MISSED"
        print(f"{kind:10}{row.streams:9}{row.complete:10}{row.differ:15}{row.gap_s:15.2f}{missed}")
        for error in row.errors[:5]:
            print(f"    {error}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
