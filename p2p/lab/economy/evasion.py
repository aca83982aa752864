"""What each point of the evasion curve earns: smart drafts, by how close to the right model they keep. Law: the curve
is measured (`python -m p2p.lab.measure.drafts`), the rules are the ledger's, the costs those of assumptions.py;
nothing is simulated here.

An epoch of CHECKED answers, all checked, is compared with the same epoch of an honest host on shared kernels. Where the
e-process convicts, the epoch's fees are forfeited (M7) and what was computed until then was computed for nothing; the
exclusion that follows is left out, in the cheat's favour. On kernels that nobody shares M20 pays less.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from p2p.base.genesis import EconomyRules
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.detection import HONEST
from p2p.lab.economy.theory import MILLI, kept
from p2p.lab.measure.curve import CHECKED, EQUAL, Point

FILE = Path(__file__).parent / "evasion.json"


@dataclass(frozen=True, slots=True)
class Earned:
    """What one point of the curve earns in an epoch."""

    point: Point
    percent: float  # of what honesty on shared kernels earns

    @property
    def pays(self) -> bool:
        """Whether it cheats and earns more than honesty."""
        return bool(self.point.draft) and self.percent > 100


@cache
def points() -> tuple[Point, ...]:
    """The shipped curve."""
    return tuple(Point(**one) for one in json.loads(FILE.read_text())["points"])


def source() -> str:
    """Where the shipped curve comes from."""
    return str(json.loads(FILE.read_text())["from"])


def earned(point: Point, rules: EconomyRules, assume: Assumptions) -> Earned:
    """Only `equal` kernels can be shared ones: whoever shares them could check on them."""
    pay = kept(rules) * (1.0 if point.pair == EQUAL else rules.unshared_pay_milli / MILLI)
    fee, cost = assume.fee_micro, assume.answer_micro(HONEST, round(assume.mean_tokens))
    honest = CHECKED * (kept(rules) * fee - cost)
    whole = CHECKED * (pay * fee * (1 - point.flagged) - cost * point.cost)
    until = -cost * point.cost * (point.median or CHECKED)
    found = point.convicted * until + (1 - point.convicted) * whole
    return Earned(point, round(100 * found / honest, 1))


def table(rules: EconomyRules, assume: Assumptions, curve: Sequence[Point] | None = None) -> list[Earned]:
    """The whole curve."""
    return [earned(point, rules, assume) for point in curve or points()]


HEAD = (
    "kernels", "drafts", "tau, nats", "cost, % of honest", "tokens not the model's, %", "flagged, %",
    "convicted in 200 checked, %", "median answers", "earns, % of honesty",
)


def lines(found: Sequence[Earned]) -> list[list[object]]:
    """Cells for people, in the order of HEAD."""
    return [[
        one.point.pair, one.point.draft or "none (honest)", f"{one.point.tau:g}" if one.point.draft else "",
        round(100 * one.point.cost, 1), round(100 * one.point.other, 2), round(100 * one.point.flagged, 2),
        round(100 * one.point.convicted, 1), one.point.median or "-", one.percent,
    ] for one in found]
