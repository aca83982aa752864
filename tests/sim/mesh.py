"""Gossip by way of neighbours: nobody hears everybody, each passes on what it accepts, and links lose messages to the
end. Law: what passes once per content and interval (p2p/consensus/inbox.py) still reaches everybody, for authors
repeat. Votes travel in bundles, as in a set that is too large for streams.

`python -m tests.sim.mesh --cases N`. Honest peers are a ring with one chord each, so no villain stands between two of
them; villains hang on it.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path

import structlog

from p2p.base.keys import digest
from p2p.base.outcome import Outcome
from tests.sim.checks import Violation
from tests.sim.peer import Peer
from tests.sim.run import DISK, HEIGHTS_AFTER, QUIET_MS, Report, Run
from tests.sim.scenario import Scenario

LOSSES = (0.0, 0.1, 0.2, 0.3)


def draw(case: int) -> Scenario:
    """Four to eight peers, often one villain, a loss that never heals."""
    rng = random.Random(f"mesh {case}")
    count = rng.choice((4, 5, 6, 7, 8))
    kinds = ("stale_replayer", "withholder", "border", "silent_proposer", "round_mutator")
    villains = ((rng.randrange(count), rng.choice(kinds)),)
    return Scenario(
        case, (1,) * count, villains if rng.random() < 0.7 else (), chaos_ms=2000, loss=rng.choice(LOSSES),
        latency_ms=rng.choice((10, 40)),
        duplicate=rng.choice((0.0, 0.3)), crashes=rng.choice((0, 1)), traffic=2, exchange="mesh",
    )


class Node(Peer):
    """Passes on what it accepts, to its neighbours; the same bytes once."""

    def start(self) -> None:
        self.passed: set[bytes] = set()
        self.forwarded = 0
        super().start()

    def receive(self, source: int, topic: str, data: bytes) -> None:
        name = digest(b"message", data)
        if not self.alive or name in self.passed:
            return
        self.passed.add(name)
        if topic == "transactions" or self.hears(source, topic, data) is Outcome.ACCEPT:
            self.forwarded += 1
            for other in self.others:
                if other.number != source:
                    self.send(other, topic, data)
        if topic == "transactions":
            super().receive(source, topic, data)

    def hears(self, source: int, topic: str, data: bytes) -> Outcome:
        """What becomes of it; taken at once when it is news here."""
        if topic == "mesh":
            assert self.exchange is not None
            before, exchange = self.exchange.passed, self.exchange
            super().receive(source, topic, data)
            return Outcome.ACCEPT if exchange.passed > before else Outcome.IGNORE
        outcome, message = self.driver.judge(data)
        if message is not None:
            self.on_heard(self, message)
            self.take(message)
        return outcome


class MeshRun(Run):
    """As always, but who hears whom is a graph, and the loss stays."""

    def _peer(self, kind: type[Peer], *rest: object) -> Peer:
        return super()._peer(Node if kind is Peer else kind, *rest)  # type: ignore[arg-type]

    def _chaos(self) -> None:
        rng, ring = random.Random(f"graph {self.scenario.seed}"), self.honest
        near: dict[int, set[int]] = {peer.number: set() for peer in self.peers}
        pairs = [(a.number, b.number) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)]
        pairs += [
            (peer.number, rng.choice(ring).number) for peer in self.peers for _ in range(1 if peer in ring else 3)
        ]
        for a, b in pairs:
            if a != b:
                near[a].add(b)
                near[b].add(a)
        for peer in self.peers:
            peer.others = [other for other in self.peers if other.number in near[peer.number]]
        super()._chaos()

    def _quiet(self) -> None:
        """Crashes and partitions end, the loss does not: every honest peer must decide."""
        links, loss = self.world.links, self.scenario.loss
        links.heal()
        links.loss = loss
        target = max((p.chain.height() for p in self.honest if p.alive), default=0) + HEIGHTS_AFTER
        if not self.world.run(
            self.world.now + QUIET_MS, lambda: all(p.alive and p.chain.height() >= target for p in self.honest)
        ):
            raise Violation(f"termination: not at height {target}, with {loss} of all messages lost")


def play(case: int) -> Report:
    with tempfile.TemporaryDirectory(dir=DISK, prefix="folkmoot-mesh-") as folder:
        return MeshRun(draw(case), Path(folder), None).go()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mesh", description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    wrong = worst = 0
    for case in range(options.first, options.first + options.cases):
        try:
            worst = max(worst, play(case).worst_round)
        except AssertionError as error:
            wrong += 1
            print(f"case {case}: {error}", flush=True)
    print(f"mesh cases {options.first}..{options.first + options.cases - 1}: worst round {worst}, violations {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
