"""What a run will meet, drawn from its seed. Law: a plain value; equal seeds give equal scenarios, and each knob can
be turned off.

The faulty weight stays below a third of every epoch's set, unless `too_many` says otherwise (then safety is not
promised, and the run must show that the simulator would see it broken).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any

from tests.sim.peer import TIMING
from tests.sim.villains import VILLAINS

MAX_PEERS = 128
OF_EXCHANGE = ("silent_relay", "greedy")  # villains that do something to the exchange of votes only


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run's faults as a plain value. Chances are 0 to 1, times milliseconds. The chaotic phase comes first."""

    seed: int
    weights: tuple[int, ...]  # at genesis, one per peer; 0: joins later
    villains: tuple[tuple[int, str], ...] = ()  # (peer, name)
    changes: tuple[tuple[int, int, int], ...] = ()  # (epoch, peer, weight)
    epoch_blocks: int = 100
    chaos_ms: int = 4000  # how long the chaotic phase lasts
    loss: float = 0.0
    duplicate: float = 0.0
    straggle: float = 0.0  # chance that a message arrives long after the others
    latency_ms: int = 40
    crashes: int = 0  # in the chaotic phase, as the next two
    write_faults: int = 0
    partitions: int = 0
    late: int = 0  # peers that start in its second half
    slow: int = 0  # peers with a slow disk
    skew_ms: int = 0  # in the chaotic phase clocks are off by at most this, either way
    jumps: int = 0  # clocks that are set anew in it, forward or back
    drift_ppm: int = 0  # how much clocks run fast or slow at most, all the time
    # (peer, ms, every_ms): an honest peer whose clock is off for good, and jumps every so often (0: never); together
    # with the villains they hold less than a third
    wrong: tuple[tuple[int, int, int], ...] = ()
    traffic: int = 0  # requests that escrow money
    too_many: bool = False  # a third or more are faulty: safety is not promised
    exchange: str = "direct"  # how votes travel (run.PACES)

    def faulty(self) -> frozenset[int]:
        return frozenset(number for number, _ in self.villains)

    def is_live(self) -> bool:
        """Whether more than two thirds are honest and have a clock that becomes right, in every set."""
        out = self.faulty() | {number for number, _, _ in self.wrong}
        return all(3 * sum(s[v] for v in out) < sum(s) for s in self.sets())

    def sets(self) -> list[list[int]]:
        """Weights of each epoch that has some of its own, by peer."""
        now, found = list(self.weights), [list(self.weights)]
        for epoch in sorted({e for e, _, _ in self.changes}):
            for e, peer, weight in self.changes:
                if e == epoch:
                    now[peer] = weight
            found.append(list(now))
        return found

    def is_safe(self) -> bool:
        """Whether the faulty hold less than a third in every set."""
        return all(3 * sum(s[v] for v in self.faulty()) < sum(s) for s in self.sets())

    def simpler(self) -> list[Scenario]:
        """The same scenario with one thing less each, for shrinking."""
        found: list[Scenario] = [
            replace(self, **_one(f.name, 0)) for f in fields(self) if f.name in _COUNTS and getattr(self, f.name)
        ]
        found += [replace(self, villains=tuple(v for v in self.villains if v != gone)) for gone in self.villains]
        found += [replace(self, wrong=tuple(w for w in self.wrong if w != gone)) for gone in self.wrong]
        found += [replace(self, changes=tuple(c for c in self.changes if c != gone)) for gone in self.changes]
        found += [replace(self, **_one(f.name, getattr(self, f.name) // 2)) for f in fields(self)
                  if f.name in _COUNTS and isinstance(getattr(self, f.name), int) and getattr(self, f.name) > 1]
        return found

    def settings(self, full: Scenario) -> str:
        """What differs from the seed's own scenario, for the command that replays this one."""
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(full, f.name)]
        return " ".join(f"--set '{name}={getattr(self, name)!r}'" for name in changed)


def _one(name: str, value: int) -> dict[str, Any]:
    return {name: value}


_COUNTS = (
    "loss", "duplicate", "straggle", "crashes", "write_faults", "partitions", "late", "slow", "skew_ms", "jumps",
    "drift_ppm", "traffic",
)


def draw(seed: int, *, too_many: bool = False, peers: int = 0) -> Scenario:
    """The scenario of a seed. peers: only this size (0: as the seed says)."""
    rng = random.Random(f"scenario {seed} {too_many}")
    count = rng.choices((4, 5, 6, 7, 8, 10, 13, 20), (450, 220, 120, 100, 60, 30, 15, 5))[0]
    count = peers or count
    weights = [1] * count if rng.random() < 0.4 else [rng.choice((1, 1, 2, 3, 5)) for _ in range(count)]
    late = rng.choice((0, 0, 0, 1, 2)) if count > 4 else 0
    plain = Scenario(
        seed, tuple(weights), epoch_blocks=rng.choice((3, 4, 6, 100)), chaos_ms=rng.choice((2000, 3000, 5000)),
        loss=rng.choice((0.0, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5)), duplicate=rng.choice((0.0, 0.1, 0.3)),
        straggle=rng.choice((0.0, 0.0, 0.02, 0.1)), latency_ms=rng.choice((10, 40, 150)),
        crashes=rng.choice((0, 0, 1, 2, 4)),
        write_faults=rng.choice((0, 0, 1, 3)), partitions=rng.choice((0, 0, 1, 2)), late=late,
        slow=rng.choice((0, 0, 1)),
        skew_ms=rng.choice((0, 50, 3000)), traffic=rng.choice((0, 3, 10)), too_many=too_many,
    )
    names = rng.choice(
        (["equivocator"], ["equivocator", "amnesiac", "twin"])
    ) if too_many else sorted(set(VILLAINS) - {"border", *OF_EXCHANGE})
    with_villains = _with_villains(rng, plain, names, too_many=too_many)
    changed = _with_changes(rng, with_villains)
    timed = changed if too_many else _with_clocks(random.Random(f"clocks {seed}"), changed)
    return _with_exchange(random.Random(f"exchange {seed}"), timed)


def _with_villains(rng: random.Random, plain: Scenario, names: list[str], *, too_many: bool) -> Scenario:
    if too_many:
        count = len(plain.weights)
        return replace(
            plain, weights=(1,) * count, late=0, villains=tuple((i, rng.choice(names)) for i in range(-(-count // 2)))
        )
    found = plain
    for number in rng.sample(range(len(plain.weights)), rng.choice((0, 1, 1, 2, 3))):
        more = replace(found, villains=(*found.villains, (number, rng.choice(names))))
        found = more if more.is_safe() else found
    return found


def _with_clocks(rng: random.Random, plain: Scenario) -> Scenario:
    """Clocks beyond every bound, in one run of two. Of a stream of their own: what a seed meant before they were
    there it still means."""
    if rng.random() < 0.5:
        return plain
    p, away = TIMING.precision_ms, TIMING.delay_ms + TIMING.precision_ms
    found = replace(
        plain, jumps=rng.choice((0, 1, 3)), drift_ppm=rng.choice((0, 100)),
        skew_ms=rng.choice((plain.skew_ms, p // 2, p, 2 * p, away, 10_000))
    )
    for villains in ((), found.villains):  # together with the others, or else instead of them
        more = replace(found, villains=(*villains, (rng.randrange(len(plain.weights)), "border")))
        if rng.random() < 0.6 and more.is_safe() and len(more.faulty()) == len(more.villains):
            found = more
    for number in rng.sample(range(len(plain.weights)), 2):
        if number in found.faulty():
            continue
        ms = rng.choice((-1, 1)) * rng.choice((p, p + 1, 2 * p, away - 1, away + 1, 10_000, 30_000))
        more = replace(found, wrong=(*found.wrong, (number, ms, rng.choice((0, 0, 700)))))
        found = more if more.is_live() else found
    return found


def _with_exchange(rng: random.Random, plain: Scenario) -> Scenario:
    """How votes travel, and in one run of three a villain of the exchange; of a stream of their own, as clocks."""
    found = replace(plain, exchange=rng.choice(("gossip", "direct", "direct", "relays", "relays", "one relay", "mesh")))
    if rng.random() < 0.67 or plain.too_many or found.exchange == "gossip":
        return found
    number = rng.randrange(len(plain.weights))
    more = replace(found, villains=(*found.villains, (number, rng.choice(OF_EXCHANGE))))
    return more if number not in found.faulty() and more.is_safe() and (more.is_live() or not found.wrong) else found


def _with_changes(rng: random.Random, plain: Scenario) -> Scenario:
    """Some weights change at epochs, some peers join from nothing; only while the faulty stay below a third."""
    found = plain
    for _ in range(rng.choice((0, 0, 1, 3, 6))):
        change = (rng.randint(1, 4), rng.randrange(len(plain.weights)), rng.choice((0, 1, 2, 4)))
        more = replace(found, changes=(*(c for c in found.changes if c[:2] != change[:2]), change))
        live = all(sum(1 for w in s if w) >= 4 for s in more.sets())
        found = more if live and (more.is_safe() or plain.too_many) else found
    return found


def with_settings(scenario: Scenario, settings: list[str]) -> Scenario:
    """--set name=value, values as Python literals."""
    import ast

    changed: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        changed[name] = ast.literal_eval(value)
    return replace(scenario, **changed)
