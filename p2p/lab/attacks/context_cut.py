"""Reads the end of the prompt alone: a short context is cheap, and its text has the whole prompt's numbers."""

from dataclasses import replace

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job

KEPT = 0.5  # share of the prompt that is read


def change(job: Job) -> Job:
    gone = len(job.prompt_tokens) - max(round(len(job.prompt_tokens) * KEPT), 1)
    return replace(job, prompt_tokens=job.prompt_tokens[gone:])


_PLAIN = Attack("context_cut", "Reads the second half of the prompt alone.", REPLAY, wrap=altered(change))
ATTACK = replace(laundered(_PLAIN), name="context_cut")
