"""An agent that hands whole answers, their ends included, to the next executor to sign on (K-C): the honest one was
called a cheat for them.
"""

from __future__ import annotations

from tests.redteam.target import Target, ask_hostile

CHEAT = "eos_prefix"
PER_S = 1.0


async def attack(target: Target) -> None:
    await ask_hostile(target, PER_S)
