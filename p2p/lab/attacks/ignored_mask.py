"""Samples from the whole distribution where the client asked for top-k, top-p or min-p.

That is cheaper for an engine without masks.
"""

from dataclasses import replace

from msgspec import structs

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job


def change(job: Job) -> Job:
    """A request without masks stays as it is."""
    return replace(job, params=structs.replace(job.params, top_k=0, top_p_milli=1000, min_p_milli=0))


ATTACK = Attack(
    "ignored_mask", "Samples from all tokens where top-k, top-p or min-p was asked for.", REPLAY,
    needs="temperature > 0 and a mask",
    wrap=altered(change),
)
