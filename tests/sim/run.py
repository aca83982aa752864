"""One run: chaos, then quiet; then every peer must agree and decide. Law: the scenario decides everything, the seed
decides the scenario."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2p.base.genesis import Genesis, GenesisAccount, GenesisChange, GenesisPeer, ModelSpec
from p2p.base.keys import Key, digest
from p2p.base.types import VERSION
from p2p.chain.chain import Chain
from p2p.chain.stores.guard import GuardStore
from p2p.consensus.relays import Pace
from p2p.ledger.genesis import check_conservation
from p2p.store.lmdb import Store
from tests.chains import next_priorities
from tests.sim import memo
from tests.sim.checks import Checks, Violation
from tests.sim.peer import TIMING, Peer, WriteFault
from tests.sim.scenario import MAX_PEERS, Scenario
from tests.sim.traffic import CLIENT, MODEL, submit
from tests.sim.villains import VILLAINS
from tests.sim.world import EPOCH_MS, Links, World

# a number in as few bytes as it needs: with more peers (tests/tools/scale) the first 256 keep their keys
KEYS = sorted(
    (Key(digest(b"simulated peer", i.to_bytes(1 + (i > 255), "big"))) for i in range(MAX_PEERS)), key=lambda k: k.public
)
QUIET_MS = 120_000  # simulated time to get going again after the network healed
HEIGHTS_AFTER = 2
# how votes travel, by Scenario.exchange. None: as by gossip, to everybody. "direct" is a peer's own; the others make
# small sets behave as large ones do, "streams" a large one as a small one
PACES: dict[str, Pace | None] = {
    "gossip": None, "direct": Pace(), "relays": Pace(small=0), "one relay": Pace(small=0, relays=1, tick_ms=20),
    "mesh": Pace(direct=0), "streams": Pace(direct=10**6),
}
DRIFT_MS = 15  # what a clock gains or loses in a whole run
# a block this far ahead of time, at most, keeps no right clock waiting longer than it waits
LEAD_MS = TIMING.precision_ms * 3 // 2
# speed only: what is durable is decided by commits, not by the disk
DISK = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def rounds_allowed(scenario: Scenario) -> int:
    """The round by which a height that begins after the healing must be decided: each villain and each peer with a
    wrong clock may spoil its own turns, plus two."""
    return 2 * (len(scenario.villains) + len(scenario.wrong)) + 2


@dataclass(slots=True)
class Report:
    """punished: validators with evidence on chain. members: size of the set at the end."""

    seed: int
    audit: str
    height: int
    worst_round: int
    events: int
    punished: int
    members: int
    disagreed: bool


def genesis_of(scenario: Scenario) -> Genesis:
    peers = tuple(GenesisPeer(KEYS[i].public, KEYS[i].public, w, (MODEL,)) for i, w in enumerate(scenario.weights))
    changes = tuple(GenesisChange(epoch, KEYS[peer].public, weight) for epoch, peer, weight in scenario.changes)
    model = ModelSpec(MODEL, bytes(32), bytes(32), "x", 1, 1, 2048)
    return Genesis(
        VERSION, "sim", EPOCH_MS - 60_000, peers, (GenesisAccount(CLIENT.public, 10**9),), (model,),
        epoch_blocks=scenario.epoch_blocks, changes=changes,
    )


class Run:
    """The world, its peers and its checks."""

    def __init__(
        self, scenario: Scenario, directory: Path, trace: Callable[[str], None] | None, *, memoise: bool = True
    ) -> None:
        if memoise:
            memo.install()
        self.scenario = scenario
        self.world = World(scenario.seed, Links((1, max(2, scenario.latency_ms))), trace=trace)
        self.genesis = genesis_of(scenario)
        faulty, self.wrong = scenario.faulty(), {number for number, _, _ in scenario.wrong}
        self.checks = Checks(
            frozenset(KEYS[i].public for i in range(len(scenario.weights)) if i not in faulty), scenario.too_many,
            frozenset(
                KEYS[i].public for i in range(len(scenario.weights)) if i not in faulty | self.wrong
            ) if scenario.is_live() else frozenset(),
        )
        kinds = dict(scenario.villains)
        self.peers: list[Peer] = []
        self.pace = PACES[scenario.exchange]
        for number in range(len(scenario.weights)):
            kind = VILLAINS.get(kinds.get(number, ""), Peer)
            self.peers.append(self._peer(kind, number, KEYS[number], directory / str(number)))
        self.honest = [peer for peer in self.peers if peer.number not in faulty]
        for number, name in scenario.villains:
            if name == "twin":
                self.peers.append(
                    self._peer(VILLAINS["twin"], len(self.peers), KEYS[number], directory / f"twin{number}")
                )
        for peer in self.peers:
            peer.others = [other for other in self.peers if other is not peer]
        for peer in self.honest:
            self.checks.watch(peer)
        self.punished = self.members = 0

    def _peer(self, kind: type[Peer], number: int, key: Key, directory: Path) -> Peer:
        peer = kind(self.world, number, key, self.genesis, directory)
        peer.pace = self.pace
        return peer

    # -- the two phases -------------------------------------------------------------------------------------------

    def go(self) -> Report:
        try:
            self._chaos()
            self._quiet()
            self.checks.end(self.honest)
            if not self.checks.disagreements:
                self._replay_equals_run()
            alive = [peer for peer in self.honest if peer.alive]
            self.punished = max(len(peer.chain.punished()) for peer in alive)
            self.members = len(max(alive, key=lambda peer: peer.chain.height()).driver.validators.members)
        finally:
            for peer in self.peers:
                peer.stop()
        return self._report()

    def _chaos(self) -> None:
        s, world, rng = self.scenario, self.world, self.world.rng
        links = world.links
        links.loss, links.duplicate, links.straggle = s.loss, s.duplicate, s.straggle
        late = set(range(len(s.weights) - s.late, len(s.weights)))
        for peer in self.peers:
            peer.skew_ms = rng.randint(-s.skew_ms, s.skew_ms)
            peer.drift_ppm = rng.randint(-s.drift_ppm, s.drift_ppm)
            peer.restart_ms = lambda: rng.randint(100, 2000)
            world.at(s.chaos_ms // 2 + rng.randint(0, 500) if peer.number in late else rng.randint(0, 50), peer.start)
        for peer in rng.sample(self.honest, min(s.slow, len(self.honest))):
            peer.slow_ms = rng.randint(20, 400)
        for _ in range(s.crashes):
            self._crash_at(rng.randint(0, s.chaos_ms), rng.choice(self.honest))
        for _ in range(s.write_faults):
            self._fault_at(rng.randint(0, s.chaos_ms), rng.choice(self.honest))
        for _ in range(s.partitions):
            self._partition_at(rng.randint(0, s.chaos_ms))
        for _ in range(s.jumps):
            self._jump_at(rng.randint(0, s.chaos_ms), rng.choice(self.honest))
        for number, ms, every_ms in s.wrong:
            self._go_wrong(self.peers[number], ms, every_ms)
        for _ in range(s.traffic):
            peer = rng.choice(self.honest)
            world.at(rng.randint(0, s.chaos_ms), lambda peer=peer: submit(peer))  # type: ignore[misc]
        world.run(s.chaos_ms)

    def _jump_at(self, time_ms: int, peer: Peer) -> None:
        rng, p = self.world.rng, TIMING.precision_ms
        to_ms = rng.choice((-1, 1)) * rng.choice((p // 2, p, 2 * p, TIMING.delay_ms + p, 10_000))
        self.world.at(time_ms, lambda: setattr(peer, "skew_ms", to_ms))

    def _go_wrong(self, peer: Peer, ms: int, every_ms: int) -> None:
        """Set a clock wrong for good: off by ms, or every every_ms by another amount up to it."""
        rng = self.world.rng
        peer.skew_ms = ms

        def jump() -> None:
            peer.skew_ms = rng.randint(-abs(ms), abs(ms))
            self.world.at(every_ms, jump)

        if every_ms:
            self.world.at(every_ms, jump)

    def _crash_at(self, time_ms: int, peer: Peer) -> None:
        self.world.at(time_ms, lambda: peer.crash("is killed"))

    def _fault_at(self, time_ms: int, peer: Peer) -> None:
        rng = self.world.rng
        ahead, kind = rng.randint(1, 12), rng.choice(("before", "after", "full"))

        def arm() -> None:
            if peer.alive:
                peer.store.fault = WriteFault(peer.store.writes + ahead, kind)

        self.world.at(time_ms, arm)

    def _partition_at(self, time_ms: int) -> None:
        """Some cannot reach the others; one time in three only in one direction."""
        rng, links = self.world.rng, self.world.links
        numbers = [peer.number for peer in self.peers]
        side = set(rng.sample(numbers, rng.randint(1, len(numbers) - 1)))
        pairs = {(a, b) for a in sorted(side) for b in numbers if b not in side}
        if rng.random() < 0.67:
            pairs |= {(b, a) for a, b in sorted(pairs)}
        length = rng.randint(300, 3000)

        def cut() -> None:
            self.world.note(f"partition {sorted(side)} for {length} ms")
            links.cut = links.cut | pairs
            self.world.at(length, lambda: setattr(links, "cut", links.cut - pairs))

        self.world.at(time_ms, cut)

    def _quiet(self) -> None:
        """The network heals, villains stay. Every honest peer must decide new heights in few rounds."""
        world = self.world
        world.note("heals")
        world.links.heal()
        near = TIMING.precision_ms // 2 - DRIFT_MS
        for peer in self.peers:
            peer.slow_ms = 0
            if peer.number not in self.wrong:
                peer.skew_ms = world.rng.randint(-near, near)
            if peer.alive:
                peer.store.fault = None
        start = max((p.chain.height() for p in self.honest if p.alive), default=0)
        target = start + HEIGHTS_AFTER

        def done() -> bool:
            return all(peer.alive and peer.chain.height() >= target for peer in self.honest)

        going = world.run(world.now + (QUIET_MS if not self.scenario.too_many else 5000), done)
        if self.scenario.too_many:
            return  # nothing is promised, but that the guilty can be named
        if not going:
            stand = [
                f"{p.number}:{p.chain.height() if p.alive else 'down'}/{p.driver.machine.round}" for p in self.honest
            ]
            raise Violation(
                f"termination: not at height {target} after {QUIET_MS / 1000:.0f} quiet seconds: {' '.join(stand)}"
            )
        for height, round_ in self.checks.rounds.items():
            # until time has caught up with what clocks said before the healing
            waits = self.checks.leads.get(height - 1, 0) > LEAD_MS
            if height > start + 1 and not waits and round_ > rounds_allowed(self.scenario):
                allowed = rounds_allowed(self.scenario)
                raise Violation(f"termination: height {height} took until round {round_}, {allowed} are allowed")

    def _replay_equals_run(self) -> None:
        """Blocks applied to a new store give the same state, and no money is made or lost."""
        peer = self.world.rng.choice(self.honest)
        with tempfile.TemporaryDirectory(dir=DISK) as folder:
            store = Store(Path(folder) / "data")
            fresh = Chain(store, GuardStore(store, Path(folder) / "used"), self.genesis)
            try:
                for height in range(1, peer.chain.height() + 1):
                    found = peer.chain.blocks.block(height)
                    assert found is not None
                    fresh.finalize(*found, next_priorities(fresh))
                if fresh.app_hash() != peer.chain.app_hash():
                    raise Violation("replay equals run: another app hash")
                if not check_conservation(fresh.state.view(), [CLIENT.public, *(k.public for k in KEYS)]):
                    raise Violation("conservation: money was made or lost")
            finally:
                store.close()

    def _report(self) -> Report:
        s, checks = self.scenario, self.checks
        height = max(checks.top.values(), default=0)
        self.world.note(f"ends at height {height}")
        return Report(
            s.seed, self.world.audit, height, max(checks.rounds.values(), default=0), self.world.events, self.punished,
            self.members,
            bool(checks.disagreements),
        )


def run(scenario: Scenario, trace: Callable[[str], None] | None = None) -> Report:
    """Raises Violation (or whatever a peer raised) when a property does not hold."""
    with tempfile.TemporaryDirectory(dir=DISK, prefix="folkmoot-sim-") as folder:
        return Run(scenario, Path(folder), trace).go()
