"""Commits to the honest answer, which satisfies every validator, and streams another one to the client.

An honest agent refuses the finish record. An agent with this cheat passes it on, and the client's receipt shows it.
"""

from p2p.lab.attacks.base import Attack
from p2p.peer.agent import Agent, _Session
from p2p.peer.executor import Executor
from p2p.peer.showing import Showing
from p2p.verification.engine import TokenStep
from p2p.wire.frames import Done


class ServesOther(Executor):
    """Streams the second-best candidate where the honest answer has the chosen token."""

    async def _show(self, showing: Showing, step: TokenStep) -> None:
        other = next((token for token, _ in step.top if token != step.token), step.token)
        await super()._show(showing, TokenStep(other, step.text.swapcase(), step.logprob))


class LooksAway(Agent):
    """Does not compare what it streamed with what the executor signed."""

    def _check_done(self, session: _Session, node: bytes, done: Done) -> None:
        del session, node, done


ATTACK = Attack(
    "commit_honest_serve_other", "Streams another answer to the client than the one it commits to.",
    "the client's receipt, before it the agent",
    executor=ServesOther, agent=LooksAway,
)
