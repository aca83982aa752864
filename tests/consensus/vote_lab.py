"""Validators that exchange votes in memory: real drivers and exchanges, a clock and links in the test's hand.

Proposals that the exchange does not take arrive everywhere after one latency, as by a perfect gossip. What is counted
is what crosses links, never time by a clock of this machine.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Key, digest
from p2p.consensus import wire
from p2p.consensus.driver import Driver
from p2p.consensus.events import Broadcast, Commit, Input, Output, SetTimer
from p2p.consensus.messages import SignedProposal, SignedVote
from p2p.consensus.proposal_relay import Judged
from p2p.consensus.relays import PACE, Pace
from p2p.consensus.timing import Timing
from p2p.consensus.vote_exchange import VoteExchange
from p2p.consensus.vote_frames import Bundle, Want, parse_frame
from p2p.consensus.vote_neighbours import MESH
from tests.consensus.test_engine import App, Guard
from tests.sim import memo

NOW_MS = 1_000_000
# timers far away: what makes a height go on is votes alone
CALM = Timing(
    propose_ms=60_000, vote_ms=60_000, block_interval_ms=1, empty_block_interval_ms=2, rebroadcast_ms=10**7,
    precision_ms=1000, delay_ms=10**6,
)
SYNC_MS = 500
Link = tuple[int, int]


@lru_cache(maxsize=4)
def keys(count: int) -> list[Key]:
    return sorted((Key(digest(b"vote lab", bytes([i]))) for i in range(count)), key=lambda k: k.public)


class SetApp(App):
    """An App with a set of its own; the last `followers` keys have no weight."""

    def __init__(self, members: list[Key]) -> None:
        super().__init__()
        self.members = tuple((key.public, 1) for key in members)

    def validators(self) -> tuple[tuple[bytes, int], ...]:
        return self.members

    last_validators = next_validators = validators

    def finalize(self, block: object, commit: object, priorities: bytes) -> None:
        self.blocks.append((block, commit))  # type: ignore[arg-type]
        self.state, self.order = digest(self.state, block.block_id), priorities  # type: ignore[attr-defined]


class Lab:
    """Peers by number. dead: neither send nor take. cut: pairs without a stream. loss: of frames, 0 to 1. latency_ms:
    of everything. deaf: peers whose frames are dropped by `drops(from, to, frame)`."""

    def __init__(
        self, count: int, *, followers: int = 0, pace: Pace = PACE, timing: Timing = CALM, latency_ms: int = 5,
        loss: float = 0.0, cut: Iterable[Link] = (), seed: int = 0,
    ) -> None:
        memo.install()  # one process checks each signature for all peers
        self.now, self.latency_ms, self.loss, self.rng = NOW_MS, latency_ms, loss, random.Random(seed)
        self.keys = keys(count + followers)
        self.cut = {(min(link), max(link)) for link in cut}
        self.dead: set[int] = set()
        self.drops: Callable[[int, int, bytes], bool] = lambda source, to, data: False
        self.frames: Counter[Link] = Counter()
        self.wants: Counter[Link] = Counter()
        self.proposed: Counter[Link] = Counter()
        self.meshed = 0  # proposals that went by gossip
        self.carried: Counter[tuple[Link, bytes]] = Counter()  # how often a vote crossed a link
        self.blamed: list[tuple[int, int]] = []  # (who blames, whom)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number, self._begun = 0, False
        self._wake_ms = [-1] * len(self.keys)
        self.apps = [SetApp(self.keys[:count]) for _ in self.keys]
        self.drivers = [
            Driver(key=key, network="sim", app=app, guard=Guard(), timing=timing, clock=lambda: self.now)
            for key, app in zip(self.keys, self.apps, strict=True)
        ]
        self.exchanges = [
            VoteExchange(driver, pace, partial(self.judge, who)) for who, driver in enumerate(self.drivers)
        ]
        for a in range(len(self.keys)):
            for b in range(len(self.keys)):
                if a != b:
                    self.up(a, b)

    # -- links

    def up(self, a: int, b: int) -> None:
        """A stream from a to b."""
        if (min(a, b), max(a, b)) not in self.cut:
            self.exchanges[a].up(str(b), self.keys[b].public, self.now)

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (self.now + max(0, delay_ms), self._number, action))

    def send(self, source: int, to: int, data: bytes, name: str = "") -> None:
        """One frame, from source to `to`."""
        frame = parse_frame(data)
        self.frames[source, to] += 1
        if isinstance(frame, Bundle):
            for raw in frame.messages:
                self.carried[(source, to), raw] += 1
        elif isinstance(frame, Want):
            self.wants[source, to] += 1
        else:
            self.proposed[source, to] += 1
        if to in self.dead or self.drops(source, to, data) or self.rng.random() < self.loss:
            return
        self.at(self.latency_ms, lambda: self.take_frame(to, name or str(source), data))

    def take_frame(self, who: int, source: str, data: bytes) -> None:
        if who in self.dead:
            return
        try:
            for message in self.exchanges[who].receive(source, data, self.now):
                if message is not None:
                    self.take(who, message)
        except RemoteProtocolError:
            self.blamed.append((who, int(source or -1)))
        self.pump(who)

    # -- peers

    def judge(self, who: int, source: str, data: bytes) -> Judged:
        """A proposal that came by a stream."""
        outcome, message = self.drivers[who].judge(data)
        said = wire.parse(data)
        assert isinstance(said, SignedProposal)
        return outcome, said.proposal, message

    def take(self, who: int, event: Input) -> None:
        if who not in self.dead:
            self.carry_out(who, self.drivers[who].take(event))

    def carry_out(self, who: int, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Broadcast(topic="votes"):
                    self.exchanges[who].broadcast(output.data, self.now)
                case Broadcast():
                    proposal = wire.parse(output.data)
                    assert isinstance(proposal, SignedProposal)
                    if self.exchanges[who].propose(proposal.proposal, output.data, self.now):
                        continue
                    self.meshed += 1
                    for other in range(len(self.keys)):
                        if other != who:
                            self.at(self.latency_ms, partial(self.take, other, proposal))
                case SetTimer():
                    self.at(output.delay_ms, partial(self.take, who, output.event))
        self.pump(who)

    def pump(self, who: int) -> None:
        """Send what is due, and come back when more is."""
        exchange = self.exchanges[who]
        for name in exchange.advance(self.now):
            data = exchange.frame(name, self.now)
            if data is None:
                continue
            if name == MESH:
                for other in range(len(self.keys)):
                    if other != who:
                        self.send(who, other, data, MESH)
            else:
                self.send(who, int(name), data)
        due = exchange.due_ms()
        if due is not None and not self.now < self._wake_ms[who] <= due:
            self._wake_ms[who] = max(due, self.now + 1)
            self.at(self._wake_ms[who] - self.now, lambda: self.pump(who) if who not in self.dead else None)

    def run(self, height: int, limit_ms: int = 60_000) -> int:
        """Until every living peer has decided `height`. Gives the milliseconds that it took."""
        started = self.now
        while any(app.height() < height for who, app in enumerate(self.apps) if who not in self.dead):
            self.step()
            assert self.now - started <= limit_ms, self.heights()
        return self.now - started

    def step(self) -> int:
        """One event; the milliseconds until it came."""
        if not self._begun:
            self._begun = True
            self.at(SYNC_MS, self.sync)
            for who, driver in enumerate(self.drivers):
                self.carry_out(who, driver.begin())
        before = self.now
        self.now, _, action = heapq.heappop(self._heap)
        action()
        return self.now - before

    def sync(self) -> None:
        """Whoever is two heights behind takes the blocks from another, as from block sync."""
        self.at(SYNC_MS, self.sync)
        best = max(self.apps, key=lambda app: app.height())
        for who, app in enumerate(self.apps):
            while app.height() + 1 < best.height() and who not in self.dead:
                self.take(who, Commit(*best.blocks[app.height()]))

    def restart(self, who: int) -> None:
        """Lose everything but the chain and the guard; streams end and begin again."""
        driver = self.drivers[who]
        self.drivers[who] = Driver(
            key=self.keys[who], network="sim", app=self.apps[who], guard=driver.signer._guard, timing=driver.pace.now,
            clock=lambda: self.now,
        )
        self.exchanges[who] = VoteExchange(self.drivers[who], self.exchanges[who].pace, partial(self.judge, who))
        for other in range(len(self.keys)):
            if other != who:
                self.exchanges[other].down(str(who))
                self.up(who, other)
                self.up(other, who)
        self.carry_out(who, self.drivers[who].begin())

    def heights(self) -> list[int]:
        return [app.height() for app in self.apps]

    def votes_carried(self) -> Counter[Link]:
        """How many votes crossed each link, copies counted."""
        found: Counter[Link] = Counter()
        for (link, raw), times in self.carried.items():
            if isinstance(wire.parse(raw), SignedVote):
                found[link] += times
        return found
