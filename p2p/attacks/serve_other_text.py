"""Streams the honest token ids with another text beside them: ids are signed for, the text that a person reads is not.

Only who has the tokenizer sees it: `folkmoot verify FILE` decodes the committed tokens and compares.
"""

from p2p.attacks.base import Attack
from p2p.gossip.streams import Stream
from p2p.inference.engine import TokenStep
from p2p.inference.executor import Executor


class ServesOtherText(Executor):
    async def _show(self, stream: Stream, position: int, step: TokenStep) -> None:
        await super()._show(stream, position, TokenStep(step.token, step.text.swapcase(), step.logprob))


ATTACK = Attack(
    "serve_other_text", "Streams another text than that of the token ids it commits to.", "folkmoot verify: text against tokens",
    executor=ServesOtherText,
)
