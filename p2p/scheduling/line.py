"""The jobs that wait for one model, in the order in which they are to begin.

Law: the order is a function of classes, turns, windows and shares. Within a class accounts take turns by their shares
(fair.py), checks go by their windows, answers of the sprint by their age.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from p2p.scheduling.classes import CLIENTS, RULES, is_urgent
from p2p.scheduling.fair import Shares
from p2p.scheduling.jobs import Job, Kind
from p2p.scheduling.measured import Lengths, Rate


@dataclass(slots=True)
class Waiting:
    """One job that waits."""

    ticket: int
    job: Job
    need: int  # tokens it is expected to use
    since: float
    overtaken: int = 0  # jobs that began before it since there was no room for it


@dataclass(slots=True)
class Line:
    """One for each model."""

    model: str
    shares: Shares = field(default_factory=Shares)
    rate: Rate = field(default_factory=Rate)
    lengths: Lengths = field(default_factory=Lengths)
    rows: dict[int, Waiting] = field(default_factory=dict)  # by ticket, oldest first
    passed: Counter[Kind] = field(default_factory=Counter)  # class -> jobs of others placed while one of it waited

    def enter(self, row: Waiting) -> None:
        if row.job.kind in CLIENTS:
            others = {one.job.account for one in self.rows.values() if one.job.kind in CLIENTS}
            if row.job.account not in others:
                self.shares.arrive(row.job.account, others)
        self.rows[row.ticket] = row

    def leave(self, ticket: int) -> Waiting | None:
        """A job does not wait any more, whatever the reason."""
        row = self.rows.pop(ticket, None)
        if row is not None and not any(one.job.kind is row.job.kind for one in self.rows.values()):
            self.passed[row.job.kind] = 0
        return row

    def begin(self, row: Waiting) -> None:
        """A job that waited was placed: it is charged, and the turns of the others come nearer."""
        self.leave(row.ticket)
        if row.job.kind in CLIENTS:
            self.shares.charge(row.job.account, row.need)
        self.passed[row.job.kind] = 0
        for kind in {one.job.kind for one in self.rows.values()} - {row.job.kind}:
            self.passed[kind] += 1

    def hurries(self, row: Waiting, now: float) -> bool:
        """Whether it is its class's turn, or half of its window is over: it waits for no gap."""
        return self._has_turn(row.job.kind) or is_urgent(row.job, row.since, now)

    def order(self, now: float) -> list[Waiting]:
        """All that wait; the first is to begin first."""
        ahead: dict[bytes, float] = {}  # account -> tokens of its jobs that are further in front
        keys: dict[int, tuple[bool, bool, int, float, int]] = {}
        for row in self.rows.values():
            kind, account = row.job.kind, row.job.account
            place = 0.0
            if kind in CLIENTS:
                place = ahead.get(account, self.shares.of(account))
                ahead[account] = place + row.need
            elif row.job.begin_by is not None:
                place = row.job.begin_by
            elif kind is Kind.VALIDATION:
                place = math.inf
            urgent, turn = is_urgent(row.job, row.since, now), self._has_turn(kind)
            keys[row.ticket] = (not urgent, not turn, kind, place, row.ticket)
        return sorted(self.rows.values(), key=lambda row: keys[row.ticket])

    def _has_turn(self, kind: Kind) -> bool:
        turn = RULES[kind].turn
        return turn is not None and self.passed[kind] >= turn
