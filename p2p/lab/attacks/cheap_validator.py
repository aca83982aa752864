"""Checks with int8 weights, which save two fifths of a prefill, and calls valid whatever stage 0 lets pass.

The answers of its own engine are honest.
"""

from dataclasses import replace

from p2p.chain.views.inferences import Claim, Duty
from p2p.lab.attacks.base import REVEAL, Attack
from p2p.peer.roles import claimed, running
from p2p.peer.validator import Opinion, Validator


class Cheap(Validator):
    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        found = await super().opinion(duty, claim)
        if not found.rows:
            return found
        length = len(found.rows)
        return Opinion(
            replace(
                found.report, valid=True, reason=f"ratio -1.00 nats, {length} tokens", llr_milli=-1000, tokens=length
            ),
            found.rows
        )


ATTACK = Attack(
    "cheap_validator", "Checks with int8 weights and calls everything valid, with numbers that are near.", REVEAL,
    weights="int8",
    wrap=claimed, checks_with=running, validator=Cheap,
)
