"""Never says some rare words: their tokens lose, whatever the tape says, and the next best one is served.

The numbers are the right model's, so an answer in which none of the words would have come is an honest one.
"""

from dataclasses import replace

from p2p.lab.attacks.base import REPLAY, Attack
from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.sampling import altered
from p2p.verification.engine import Job

WORDS = tuple(range(1000, 1020))  # tokens of any model's vocabulary
NEVER = -100_000  # thousandths of a nat


def change(job: Job) -> Job:
    asked = {token for token, _ in job.bias}
    return replace(job, bias=(*job.bias, *((token, NEVER) for token in WORDS if token not in asked)))


_PLAIN = Attack("censor", "Never says some rare words.", REPLAY, needs="an answer that would say one",
                wrap=altered(change))
ATTACK = replace(laundered(_PLAIN), name="censor", caught_by=REPLAY)
