"""Is paid to check and never runs the model: it says 'valid' with numbers copied from wherever it sees some.

When it must commit it sees the artifact's ranks 1 to 8, and the reveals of an earlier committee of the same inference.
The reveals of its own committee come after its commitment.
"""

from collections.abc import Sequence

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.serving_limits import REVEAL_RANKS
from p2p.base.types import RevealedRow
from p2p.chain.views.inferences import Claim, Duty
from p2p.lab.attacks.base import REVEAL, Attack
from p2p.peer.validator import Opinion, Validator
from p2p.verification.check import CheckResult
from p2p.verification.engine import Row


class Copying(Validator):
    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        """Rows of the artifact's own candidates, with its neighbours' to fill up the ranks that are not there."""
        try:
            positions = (await self._payload(duty, claim)).artifact.positions()
        except FolkmootError as error:
            raise Unavailable(error.message, field="payload") from error
        rows = []
        for at, position in enumerate(positions):
            row = dict(position.top)
            lowest = min(row.values())
            for step in range(1, len(positions) + REVEAL_RANKS):
                other = positions[(at + step) % len(positions)].top
                row = {token: lowest - 0.5 for token, _ in other} | row
            more = range(REVEAL_RANKS * (duty.earlier + 1) + 8)
            rows.append(row | {token: lowest - 1.0 for token in more if token not in row})
        return Opinion(CheckResult(True, f"ratio 0.00 nats, {len(rows)} tokens", -1000, len(rows)), rows)

    def numbers(self, duty: Duty, rows: Sequence[Row]) -> tuple[RevealedRow, ...]:
        seen = self._revealed(duty)
        return tuple(replaced(row, seen) for row in super().numbers(duty, rows))

    def _revealed(self, duty: Duty) -> dict[int, RevealedRow]:
        """What earlier committees of this inference have shown, by position."""
        inference = self.chain.state.view().inference(duty.inference_id)
        committees = inference.committees if inference is not None else ()
        return {row.position: row for one in committees for verdict in one.verdicts for row in verdict.numbers}


def replaced(row: RevealedRow, seen: dict[int, RevealedRow]) -> RevealedRow:
    return seen.get(row.position, row)


ATTACK = Attack(
    "copying_validator",
    "Never runs the model and says 'valid' with numbers copied from the artifact or an earlier committee.", REVEAL,
    validator=Copying,
)
