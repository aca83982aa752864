"""Streams the honest token ids with another text: what is signed is right, what a person reads is not.

The finish record binds the text. An honest agent sees that it is another one; where the agent looks away, the client's
receipt shows it.
"""

from p2p.lab.attacks.base import Attack
from p2p.peer.executor import Executor
from p2p.peer.showing import Showing
from p2p.verification.engine import TokenStep


class ServesOtherText(Executor):
    async def _show(self, showing: Showing, step: TokenStep) -> None:
        await super()._show(showing, TokenStep(step.token, step.text.swapcase(), step.logprob))


ATTACK = Attack(
    "serve_other_text", "Streams another text than that of the token ids it commits to.",
    "the agent, else the client's receipt",
    executor=ServesOtherText,
)
