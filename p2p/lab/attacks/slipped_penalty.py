"""A frequency penalty that nobody asked for: answers look livelier, and honest numbers are published."""

from dataclasses import replace

from msgspec import structs

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job

MORE = 300  # thousandths


def change(job: Job) -> Job:
    more = min(job.params.frequency_milli + MORE, 2000)
    return replace(job, params=structs.replace(job.params, frequency_milli=more))


ATTACK = replace(
    laundered(Attack("slipped_penalty", "Samples with a frequency penalty of 0.3 more than asked for.", REPLAY,
                     needs="temperature > 0", wrap=altered(change))),
    name="slipped_penalty",
)
