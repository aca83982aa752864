"""int4 weights at a temperature that makes the text as surprising as the right model's, to slip past entropy checks.

FACTOR was measured once: 20 prompts of the shipped list, each model answering by itself (64 tokens, full vocabulary),
mean entropy of the distribution that was sampled from. The right model at temperature 1: 3.17 nats. int4 at 1.0: 4.63,
at 0.9: 2.96; so they are equal at 0.91.
"""

from dataclasses import replace

from msgspec import structs

from p2p.lab.attacks.base import DISTANCE, Attack
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job

FACTOR = 0.91


def change(job: Job) -> Job:
    return replace(
        job, params=structs.replace(job.params, temperature_milli=round(job.params.temperature_milli * FACTOR))
    )


ATTACK = Attack(
    "temperature_tuned_int4", "Serves int4 weights at a temperature chosen so that the entropy looks right.", DISTANCE,
    weights="int4", needs="temperature > 0", wrap=altered(change),
)
