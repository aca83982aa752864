"""Checks honestly, but calls every answer of a friend's node valid.

The numbers that it reveals are real, so only its verdict is a lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from p2p.chain.views.inferences import Claim, Duty
from p2p.lab.attacks.base import Attack
from p2p.peer.asked import open_question
from p2p.peer.validator import Opinion, Validator
from p2p.verification.engine import Row


@dataclass
class Colluding(Validator):
    friends: frozenset[bytes] = frozenset()  # node keys: `cheat_friends` in the peer's lab.toml

    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        found = await super().opinion(duty, claim)
        if claim.finish.executor not in self.friends or found.report.valid or found.withheld:
            return found
        rows = found.rows or await self._prefill(duty, claim)
        return Opinion(
            replace(found.report, valid=True, reason="ratio -1.00 nats", llr_milli=-1000, tokens=len(rows)), rows
        )

    async def _prefill(self, duty: Duty, claim: Claim) -> Sequence[Row]:
        """Rows for an answer that stage 0 refused: a verdict 'valid' needs numbers."""
        from p2p.base.errors import Unavailable
        from p2p.verification.marks import rows_of
        from p2p.verification.statistics import ROW_TOP

        if self.ready is None:
            raise Unavailable("the ML node is not ready", field="ml_node")
        found = await self._payload(duty, claim)
        asked = open_question(self.ready, claim, found.body)
        return await rows_of(
            self.ready.checks, asked.prompt, found.artifact, found.body, asked.sampling, ROW_TOP
        )


ATTACK = Attack(
    "colluding_validator", "Says 'valid' to whatever a friend's node did, honest otherwise.",
    "the committee and the dispute after it",
    validator=Colluding,
)
