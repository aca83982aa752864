"""From samples and answers to one line of the table.

Law: pure; every figure compares one network with itself, before, during and after one attack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.redteam.field import HONEST, Sample

TURNS = HONEST + 1  # heights in which each validator, the attacker's too, proposes once: all weigh the same
PUNISHMENTS = ("convicted", "barred", "suspended", "strikes", "struck", "convictions")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, seconds since 1970; its end does not belong to it."""

    begin: float
    end: float

    def holds(self, at: float) -> bool:
        return self.begin <= at < self.end


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured in one window."""

    rate: float  # heights per second of the slowest honest peer
    asked: int  # questions that were asked in it
    answered: float  # share of these that were answered right
    worst_s: float  # seconds from the question to the end of the slowest answer
    rss: int  # largest resident memory of any honest peer, bytes
    errors: Counter[str] = field(default_factory=Counter)  # what the others got instead of an answer


def figures(samples: Sequence[Sample], answers: Sequence[Mapping[str, Any]], window: Window) -> Figures:
    inside = [sample for sample in samples if window.holds(sample.at)]
    asked = [answer for answer in answers if window.holds(answer["asked"])]
    good = [answer for answer in asked if not answer["error"]]
    return Figures(
        _rate(inside), len(asked), len(good) / len(asked) if asked else 0.0,
        max((answer["took_s"] for answer in asked), default=0.0),
        max((max(sample.rss) for sample in inside), default=0),
        Counter(answer["error"] for answer in asked if answer["error"]),
    )


def _rate(samples: Sequence[Sample]) -> float:
    """Heights per second of the peer whose height grew least. A peer that does not answer has not grown.

    Validators propose in turn, and the attacker's is usually absent, so each TURNS-th height takes three times as long
    as the others. Only whole rotations count: else the rate would change by a fifth with the number of slow heights
    that happen to fall into the window. The time until the window's end counts where less than one rotation was
    decided, or nothing was decided for as long as a rotation takes.
    """
    if len(samples) < 2:
        return 0.0
    rates = []
    for peer in range(len(samples[0].heights)):
        seen = [(sample.at, sample.heights[peer]) for sample in samples]
        news = [after for before, after in pairwise(seen) if after[1] > before[1] >= 0]
        if len(news) < 2 or seen[-1][1] < news[-1][1]:
            rates.append(0.0)
            continue
        (began, low), (last, top) = news[0], news[-1]
        whole = (top - low) // TURNS * TURNS
        ended = next(at for at, height in news if height >= low + whole)
        if not whole or samples[-1].at - last > (ended - began) * TURNS / whole:
            whole, ended = top - low, samples[-1].at
        rates.append(whole / (ended - began))
    return min(rates)


def punished(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], nodes: Sequence[str]
) -> list[str]:
    """Sentences: what the chain holds against `nodes` after the attack and did not hold before."""
    found = []
    for node in nodes:
        old, new = before.get(node, {}), after.get(node, {})
        found += [f"{node[:8]}: {name}" for name in PUNISHMENTS if int(new.get(name, 0)) > int(old.get(name, 0))]
    return found


def banned(statuses: Sequence[Mapping[str, Any]], honest: Sequence[str]) -> list[str]:
    """Sentences 'A bans B: why' for the honest peers B, from the peers' statuses."""
    found = []
    for status in statuses:
        for ban in status["banned"]:
            if ban["peer"] in honest:
                found.append(f"{status['peer_id'][-6:]} bans {ban['peer'][-6:]}: {ban['why']}")
    return found
