"""An agent that hands whole answers, their ends included, to the next executor to sign (K-C).

The honest executor that did was called a cheat.
"""

from __future__ import annotations

from tests.redteam.target import Target, ask_hostile

CHEAT = "eos_prefix"
PER_S = 1.0


async def attack(target: Target) -> None:
    await ask_hostile(target, PER_S)
