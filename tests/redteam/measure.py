"""From samples and answers to one line of the table. Law: pure; every figure is of the same network before, during and
after one attack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.redteam.field import HONEST, Sample

TURNS = HONEST + 1  # heights in which each validator, the attacker's too, proposes once: all weigh the same
PUNISHMENTS = ("convicted", "barred", "suspended", "strikes", "struck", "convictions")


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds since the epoch."""

    begin: float
    end: float

    def holds(self, at: float) -> bool:
        return self.begin <= at < self.end


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one window. rate: heights a second, of the slowest peer. answered: of the questions asked in it, the share
    that was answered right. worst_s: until the end of the slowest answer. rss: largest resident set of any honest peer,
    bytes."""

    rate: float
    asked: int
    answered: float
    worst_s: float
    rss: int


def figures(samples: Sequence[Sample], answers: Sequence[Mapping[str, Any]], window: Window) -> Figures:
    inside = [sample for sample in samples if window.holds(sample.at)]
    asked = [answer for answer in answers if window.holds(answer["asked"])]
    good = [answer for answer in asked if not answer["error"]]
    return Figures(
        _rate(inside), len(asked), len(good) / len(asked) if asked else 0.0,
        max((answer["took_s"] for answer in asked), default=0.0),
        max((max(sample.rss) for sample in inside), default=0),
    )


def _rate(samples: Sequence[Sample]) -> float:
    """Of the peer whose height grew least; a peer that does not answer has not grown.

    Validators propose in turn and one of them is never there, so each TURNS-th height takes three times as long as the
    others: the rate is that of whole rotations, or the number of slow heights that happen to fall into a window would
    change it by a fifth. Where less than one rotation is decided, or nothing has come for as long as one takes, the
    time until the window's end counts."""
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
    """Sentences: what the chain holds against honest nodes now and did not before."""
    found = []
    for node in nodes:
        old, new = before.get(node, {}), after.get(node, {})
        found += [f"{node[:8]}: {name}" for name in PUNISHMENTS if int(new.get(name, 0)) > int(old.get(name, 0))]
    return found


def banned(statuses: Sequence[Mapping[str, Any]], honest: Sequence[str]) -> list[str]:
    """`a bans b` for honest peers, from what status says of bans."""
    found = []
    for status in statuses:
        for ban in status["banned"]:
            if ban["peer"] in honest:
                found.append(f"{status['peer_id'][-6:]} bans {ban['peer'][-6:]}: {ban['why']}")
    return found
