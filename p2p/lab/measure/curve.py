"""A point of the evasion curve (drafts.py measures it, lab/economy says what it earns). Law: data."""

from __future__ import annotations

from dataclasses import dataclass

EQUAL, ACROSS, STRANGER = "equal", "across", "stranger"
CHECKED = 200  # checked answers of an epoch


@dataclass(frozen=True, slots=True)
class Point:
    """What a host that drafts so costs, and how soon it is found."""

    pair: str
    draft: str  # weights that write the drafts; '' for an honest host
    tau: float  # nats
    cost: float  # of a token, as a share of honest decoding
    other: float  # share of tokens that are not the right model's
    flagged: float  # share of answers that one check refuses
    convicted: float  # share of epochs of CHECKED checked answers in which the e-process convicts
    median: int  # checked answers until the conviction; 0 where fewer than half are convicted
