"""Launders, and claims that another executor streamed all tokens but the last.

If that were believed, nobody would hold those tokens against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from p2p.base.keys import Key
from p2p.base.types import SignedFinish, SignedRequest, SignedStreamed
from p2p.lab.attacks.base import EXACT, Attack
from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.reckless import Reckless
from p2p.peer.job import Assignment
from p2p.peer.ready_engine import ReadyEngine
from p2p.verification.engine import Job, TokenStep
from p2p.verification.sampling import Sampling
from p2p.verification.streamed import chain_after, sign_streamed


def invented(
    key: Key, drawn: Sequence[bytes], signed: SignedRequest, tokens: Sequence[int]
) -> tuple[SignedStreamed, ...]:
    """The word of the first one drawn, which it never gave: the signature is the liar's own."""
    mine = sign_streamed(
        key, signed.request.network, signed.inference_id, 0, len(tokens), chain_after(signed.inference_id, tokens)
    )
    before = next((node for node in drawn if node != key.public), key.public)
    return (SignedStreamed(structs.replace(mine.record, executor=before), mine.signature),)


class ClaimsTakenOver(Reckless):
    async def _claim(
        self, assignment: Assignment, ready: ReadyEngine, job: Job, sampling: Sampling, steps: list[TokenStep], *,
        stopped: bool = False, at_stop: bool = False, plant: bool = False,
    ) -> tuple[SignedFinish, bytes]:
        before = tuple(step.token for step in steps[:-1])
        if before and not assignment.taken:
            taken = invented(self.key, assignment.drawn, assignment.signed, before)
            assignment, job = replace(assignment, taken=taken), replace(job, prefix=before)
        return await super()._claim(
            assignment, ready, job, sampling, steps, stopped=stopped, at_stop=at_stop, plant=plant
        )


_LAUNDERED = laundered(Attack("int4", "Serves int4 weights.", EXACT, weights="int4"))
ATTACK = Attack(
    "free_claim_taken_over", "Launders int4 weights and says that another executor streamed all but the last token.",
    EXACT, weights="int4",
    needs="two tokens or more", wrap=_LAUNDERED.wrap, executor=ClaimsTakenOver,
)
