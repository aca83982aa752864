"""Samples with a seed of the host's own, as an engine without the tape would."""

from dataclasses import replace

from p2p.base.keys import digest
from p2p.lab.attacks.base import EXACT, Attack
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job


def change(job: Job) -> Job:
    return replace(job, seed=digest(b"a seed of my own", job.seed))


ATTACK = Attack(
    "wrong_seed", "Samples with a seed of the host's own choice.", EXACT, exact=True, needs="temperature > 0",
    wrap=altered(change)
)
