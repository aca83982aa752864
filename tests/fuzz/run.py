"""Runs cases. Law: a case depends on (seed, target, number) alone, not on the process that runs it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from p2p.base.errors import FolkmootError
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import Parts, Target, targets

UNREAD, REFUSED, UNCHANGED, ACCEPTED, CRASH = "unread", "refused", "unchanged", "accepted changed", "crash"
BAD = (ACCEPTED, CRASH)
FATES = (UNREAD, REFUSED, UNCHANGED, ACCEPTED, CRASH)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target made of one case."""

    fate: str  # UNREAD: a typed error; REFUSED: well-formed, but not taken for the original
    original: int
    parts: Parts
    why: str = ""  # the error, or what else was wrong


@dataclass(slots=True)
class Tally:
    """A run of cases: how many had each fate, the bad ones, and the slowest (seconds of CPU, case)."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad: list[tuple[str, int, str]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.bad += other.bad
        self.slowest = max(self.slowest, other.slowest)


def case(seed: int, target: Target, number: int) -> tuple[int, Parts]:
    """(number of the original, its mutated parts)."""
    random = Random(f"{seed}:{target.name}:{number}")
    at = random.randrange(len(target.originals))
    return at, mutate(target.originals[at], random.choice(target.originals), random)


def judge(target: Target, at: int, parts: Parts) -> Outcome:
    same = parts == target.originals[at]
    try:
        taken = target.accepts(at, parts)
    except FolkmootError as error:
        return Outcome(CRASH if same else UNREAD, at, parts, f"{type(error).__name__}: {error}")
    except Exception as error:  # whatever it is, no peer's bytes may cause it
        return Outcome(CRASH, at, parts, f"{type(error).__name__}: {error}")
    if same:
        return Outcome(UNCHANGED if taken else CRASH, at, parts, "" if taken else "the original is refused")
    return Outcome(ACCEPTED if taken else REFUSED, at, parts)


def stretch(seed: int, first: int, count: int) -> Tally:
    """Judge the cases first .. first + count - 1, over the targets in turn."""
    tally, known = Tally(), tuple(targets().values())
    for number in range(first, first + count):
        target = known[number % len(known)]
        at, parts = case(seed, target, number)
        started = time.process_time()
        outcome = judge(target, at, parts)
        tally.slowest = max(tally.slowest, (time.process_time() - started, f"{target.name}:{number}"))
        tally.counts[target.name, outcome.fate] += 1
        if outcome.fate in BAD:
            tally.bad.append((target.name, number, f"{outcome.fate} {outcome.why}".strip()))
    return tally


def table(tally: Tally) -> list[str]:
    """The summary: one line for each target, and one for all of them."""
    names = list(targets())
    rows = [[name, *(tally.counts[name, fate] for fate in FATES)] for name in names]
    rows.append(["all", *(sum(tally.counts[name, fate] for name in names) for fate in FATES)])
    lines = [
        f"{'target':10}{'inputs':>10}{'unread':>10}{'refused':>10}{'unchanged':>11}"
        f"{'accepted changed':>18}{'crashes':>9}",
    ]
    lines += [
        f"{name:10}{sum(counts):>10}{unread:>10}{refused:>10}{same:>11}{accepted:>18}{crash:>9}"
        for name, *counts in rows for unread, refused, same, accepted, crash in [counts]
    ]
    return lines
