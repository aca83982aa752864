"""An agent that frames an executor with another one's whole answer.

It hands over an answer that has ended as if its executor had died, for the next executor to continue and sign.
"""

from p2p.base.errors import RemoteProtocolError
from p2p.lab.attacks.base import EXACT, Attack
from p2p.peer.agent import Agent, _Session
from p2p.wire.frames import Done


class FramesTheNext(Agent):
    """Is never content with an answer that came: the whole of it goes to the next executor as its beginning."""

    def _check_done(self, session: _Session, node: bytes, done: Done) -> None:
        super()._check_done(session, node, done)
        raise RemoteProtocolError("not good enough", field="finish")


ATTACK = Attack(
    "eos_prefix", "An agent that hands a whole answer, its end included, to the next executor to go on from.", EXACT,
    agent=FramesTheNext,
)
