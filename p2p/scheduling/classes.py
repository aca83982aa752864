"""The classes of jobs: who goes first, who waits how long, and why nobody starves.

Law: a higher class goes first, and every class that waits has its turn after a fixed number of jobs.

Strict priorities alone would starve: a flood of own clients all strangers, a flood of strangers all checks, and a
validator that misses its checks pays for it. So each class but the highest has a turn: when so many jobs of others were
placed while one of it waited, it goes first once. A check also goes first from the middle of its window on.

Checks and the sprint work in gaps: they begin while at most half of an ML node's places are taken, because a prefill
slows every answer that runs beside it. A turn, and half a window, end that patience.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from p2p.base.serving_limits import (
    CHECK_AGE_S,
    CHECK_TURN,
    CHECKS_PER_NODE,
    MAX_NODE_JOBS,
    PAID_TURN,
    QUEUE_AGE_S,
    SPRINT_AGE_S,
    SPRINT_TURN,
)
from p2p.scheduling.jobs import Job, Kind


class Rule(NamedTuple):
    """How jobs of one class are treated."""

    age_s: float  # for which one waits at most
    turn: int | None  # jobs of others after which one that waits goes first; None: it goes first anyway
    in_gaps: bool = False  # it begins only while at most half of the places are taken
    at_once: int = MAX_NODE_JOBS  # on one ML node


RULES: Final = {
    Kind.OWN: Rule(QUEUE_AGE_S, None),
    Kind.PAID: Rule(QUEUE_AGE_S, PAID_TURN),
    Kind.VALIDATION: Rule(CHECK_AGE_S, CHECK_TURN, in_gaps=True, at_once=CHECKS_PER_NODE),
    Kind.SPRINT: Rule(SPRINT_AGE_S, SPRINT_TURN, in_gaps=True),
}
CLIENTS: Final = (Kind.OWN, Kind.PAID)  # whose answers end before max_tokens, and whose accounts share


def ends(job: Job, since: float) -> float:
    """When a job that waits since then is given up."""
    last = since + RULES[job.kind].age_s
    return last if job.begin_by is None else min(last, job.begin_by)


def due_at(job: Job, since: float) -> float:
    """When half of the time is over within which it must begin: from then on it is urgent."""
    return (since + ends(job, since)) / 2


def is_urgent(job: Job, since: float, now: float) -> bool:
    """Whether a job that must begin by some time is urgent."""
    return job.begin_by is not None and now >= due_at(job, since)
