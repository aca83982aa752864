"""A host whose answers are right and whose payloads nobody gets (K-C).

The validators that said so, and those that said nothing, paid for it.
"""

from __future__ import annotations

import trio

from tests.redteam.target import Target

CHEAT = "withholding"


async def attack(target: Target) -> None:
    """The steady client's questions are drawn to it like to anybody."""
    del target
    await trio.sleep_forever()
