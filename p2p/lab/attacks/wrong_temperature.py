"""Samples at another temperature than the client asked for."""

from dataclasses import replace

from msgspec import structs

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job

FACTOR = 1.05


def change(job: Job) -> Job:
    hotter = min(round(job.params.temperature_milli * FACTOR), 2000)
    return replace(job, params=structs.replace(job.params, temperature_milli=hotter))


ATTACK = Attack(
    "wrong_temperature", "Samples at 1.05 times the temperature asked for.", REPLAY, needs="temperature > 0",
    wrap=altered(change)
)
