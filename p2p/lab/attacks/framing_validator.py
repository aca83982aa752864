"""Accuses honest hosts.

It runs the model, so its numbers agree with everybody's, and says 'invalid' all the same.
"""

from dataclasses import replace

from p2p.chain.views.inferences import Claim, Duty
from p2p.lab.attacks.base import Attack
from p2p.peer.validator import Opinion, Validator

LLR_MILLI = 50_000  # as convincing as a real cheat


class Framing(Validator):
    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        found = await super().opinion(duty, claim)
        if not found.report.valid:
            return found
        text = f"not what this model samples: ratio {LLR_MILLI / 1000:.2f} nats, {found.report.tokens} tokens"
        return Opinion(replace(found.report, valid=False, reason=text, llr_milli=LLR_MILLI), found.rows)


ATTACK = Attack(
    "framing_validator", "Says 'invalid' to honest work, with real numbers.", "the committee and the dispute after it",
    validator=Framing
)
