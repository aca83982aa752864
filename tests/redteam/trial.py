"""One attack from beginning to end, on a network of its own.

Law: three windows of one run (quiet, under attack, after), compared with each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.redteam.field import HONEST, Field
from tests.redteam.measure import Figures, Window, banned, figures, punished

WARM_S = 12.0  # before the quiet window: the first heights wait for peers that are not there yet
RECOVER_S = 10.0  # after an attack: then everything has to be as before
LAST_ANSWERS_S = 3.0  # after the last window, for questions that were asked in it
EVERY_S = 1.5  # between two questions of the client
GOODPUT, MEMORY = 0.9, 2.0  # least share of rate and answers that must be left; most times the memory that may be held


@dataclass(slots=True)
class Outcome:
    """What one attack did."""

    name: str  # of the stranger
    quiet: Figures
    during: Figures
    after: Figures
    harmed: list[str] = field(default_factory=list)  # sentences: honest peers that were punished, banned or ended
    deeds: dict[str, int] = field(default_factory=dict)  # what the stranger did, by its own count

    def ratios(self) -> tuple[float, float, float]:
        """(heights per second, share answered, memory) under attack, each divided by its figure of the quiet window."""
        quiet = self.quiet
        return (
            self.during.rate / quiet.rate if quiet.rate else 0.0,
            self.during.answered / quiet.answered if quiet.answered else 0.0,
            self.during.rss / quiet.rss if quiet.rss else 0.0,
        )

    def recovered(self) -> bool:
        return self.after.rate >= GOODPUT * self.quiet.rate and self.after.answered >= GOODPUT * self.quiet.answered

    def held(self) -> bool:
        rate, answered, memory = self.ratios()
        return rate >= GOODPUT and answered >= GOODPUT and memory <= MEMORY and self.recovered() and not self.harmed


def run(name: str, directory: Path, seconds: float, say: Callable[[str], None], *, cheat: str = "") -> Outcome:
    """Measure one attack.

    name: a file in strangers/; '' for none, the undisturbed run. seconds: length of each window. cheat: what the
    attacker's own peer runs as, where the attack needs one.
    """
    trial = Field(directory, cheat)
    try:
        trial.open(EVERY_S)
        say("network up")
        time.sleep(WARM_S)
        before = trial.conduct()
        quiet = _window(seconds)
        attacker = trial.attack(name) if name else None
        during = _window(seconds)
        deeds: dict[str, int] = {}
        if attacker is not None:
            deeds = trial.did(attacker)
            trial.end(attacker)
        time.sleep(RECOVER_S)
        after = _window(seconds)
        time.sleep(LAST_ANSWERS_S)
        measured = (figures(trial.samples, trial.answers, window) for window in (quiet, during, after))
        return Outcome(name or "undisturbed", *measured, _harmed(trial, before), deeds)
    finally:
        trial.close()


def _harmed(trial: Field, before: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences about honest peers that ended, were punished since `before`, or are banned by another honest peer."""
    nodes, died = trial.nodes()[:HONEST], trial.died()
    harmed = [f"{who} ended" for who in died] + punished(before, trial.conduct(), nodes)
    blamed = [node for node in nodes if any(one.startswith(node[:8]) for one in harmed)]
    harmed += [why for node in blamed for why in trial.refused(node)]
    statuses = [trial.status(number) for number in range(HONEST) if trial.folders[number].name not in died]
    return harmed + banned(statuses, [status["peer_id"] for status in statuses])


def _window(seconds: float) -> Window:
    begin = time.time()
    time.sleep(seconds)
    return Window(begin, time.time())
