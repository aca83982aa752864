"""Is paid to check and never runs the model: everything is valid, with invented numbers."""

from itertools import count

from p2p.base.keys import digest
from p2p.base.serving_limits import REVEAL_RANKS, TOP_RANKS
from p2p.chain.views.inferences import Claim, Duty
from p2p.lab.attacks.base import REVEAL, Attack
from p2p.peer.validator import Opinion, Validator
from p2p.verification.check import CheckResult

VOCABULARY = 32768  # ids it draws from: below the size of any model's
FIRST, FALL = -1.0, 0.75  # nats: log-probabilities that look like a row's


class Lazy(Validator):
    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        length = claim.finish.output_tokens
        return Opinion(
            CheckResult(True, f"ratio 0.00 nats, {length} tokens", -1000, length),
            [self._row(duty, at) for at in range(length)]
        )

    def _row(self, duty: Duty, position: int) -> dict[int, float]:
        """Candidates by hash: as many as the reveal looks at, all different."""
        row: dict[int, float] = {}
        for draw in count():
            if len(row) >= TOP_RANKS + REVEAL_RANKS * (duty.earlier + 1):
                break
            seed = digest(
                b"lazy", self.key.public, duty.inference_id, position.to_bytes(4, "big"), draw.to_bytes(4, "big")
            )
            row.setdefault(int.from_bytes(seed[:4], "big") % VOCABULARY, FIRST - FALL * len(row))
        return row


ATTACK = Attack(
    "lazy_validator", "Never runs the model and says 'valid' with invented numbers.", REVEAL, validator=Lazy
)
