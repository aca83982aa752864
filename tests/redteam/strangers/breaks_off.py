"""An agent that takes all of an answer but its end, again and again (K-C, K-D).

One escrow, which returned each time, kept every ML node busy for nothing.
"""

from __future__ import annotations

from tests.redteam.target import Target, ask_hostile

CHEAT = "breaks_off"
PER_S = 1.0


async def attack(target: Target) -> None:
    await ask_hostile(target, PER_S)
