"""Samples without the grammar that the client asked for, as an engine does that cannot mask."""

from dataclasses import replace

from p2p.lab.attacks.base import EXACT, Attack
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job


def change(job: Job) -> Job:
    """A request without a grammar stays as it is."""
    return replace(job, grammar=None)


ATTACK = Attack(
    "grammar_dropped", "Samples from all tokens where a grammar was asked for.", EXACT, exact=True, needs="a grammar",
    wrap=altered(change),
)
