"""One attack from beginning to end on a network of its own. Law: quiet, attack, after: three windows of one run,
compared with each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.redteam.field import HONEST, Field
from tests.redteam.measure import Figures, Window, banned, figures, punished

WARM_S = 12.0  # the first heights wait for peers that are not there yet
RECOVER_S = 10.0  # after this long everything has to be as before
GOODPUT, MEMORY = 0.9, 2.0
EVERY_S = 1.5  # between two questions


@dataclass(slots=True)
class Outcome:
    """What one attack did. harmed: sentences about honest peers that were punished, banned or ended. deeds: what the
    stranger did, by its own count."""

    name: str
    quiet: Figures
    during: Figures
    after: Figures
    harmed: list[str] = field(default_factory=list)
    deeds: dict[str, int] = field(default_factory=dict)

    def ratios(self) -> tuple[float, float, float]:
        """(chain rate, answers, memory) under attack, by those of the quiet window."""
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
    """name: a file in strangers/; '' for none, the undisturbed run. cheat: what the sixth peer runs as, where the
    attack needs one.
    """
    trial = Field(directory, cheat)
    try:
        trial.open(EVERY_S)
        say("network up")
        time.sleep(WARM_S)
        before = trial.standing()
        quiet = _window(seconds)
        child = trial.attack(name) if name else None
        during = _window(seconds)
        deeds = trial.did(child) if child is not None else {}
        if child is not None:
            trial.end(child)
        time.sleep(RECOVER_S)
        after = _window(seconds)
        time.sleep(3.0)  # the last answers
        nodes = trial.nodes()[:HONEST]
        harmed = [f"{who} ended" for who in trial.died()] + punished(before, trial.standing(), nodes)
        harmed += [
            why for node in nodes if any(one.startswith(node[:8]) for one in harmed) for why in trial.refused(node)
        ]
        statuses = [trial.status(number) for number in range(HONEST) if trial.folders[number].name not in trial.died()]
        harmed += banned(statuses, [status["peer_id"] for status in statuses])
        return Outcome(
            name or "undisturbed",
            *(figures(trial.samples, trial.answers, window) for window in (quiet, during, after)), harmed, deeds
        )
    finally:
        trial.close()


def _window(seconds: float) -> Window:
    begin = time.time()
    time.sleep(seconds)
    return Window(begin, time.time())
