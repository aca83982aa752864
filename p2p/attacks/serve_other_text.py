"""Streams the honest token ids with another text beside them: ids are signed for, the text that a person reads is not.

The finish record binds the text: an honest agent sees that it is another one, and beside an agent that looks away the client's receipt does.
"""

from p2p.attacks.base import Attack
from p2p.inference.engine import TokenStep
from p2p.inference.executor import Executor
from p2p.inference.showing import Showing


class ServesOtherText(Executor):
    async def _show(self, showing: Showing, step: TokenStep) -> None:
        await super()._show(showing, TokenStep(step.token, step.text.swapcase(), step.logprob))


ATTACK = Attack(
    "serve_other_text", "Streams another text than that of the token ids it commits to.", "the agent, else the client's receipt",
    executor=ServesOtherText,
)
