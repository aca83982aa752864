"""Samples from a smaller nucleus than the client asked for."""

from dataclasses import replace

from msgspec import structs

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job


def change(job: Job) -> Job:
    """top-p .90 where .95 was asked, in proportion elsewhere; a request without top-p stays as it is."""
    asked = job.params.top_p_milli
    return job if asked >= 1000 else replace(job, params=structs.replace(job.params, top_p_milli=asked * 90 // 95))


ATTACK = Attack(
    "wrong_top_p", "Samples with top-p .90 where .95 was asked for.", REPLAY, needs="temperature > 0 and top_p < 1",
    wrap=altered(change)
)
