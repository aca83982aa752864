"""An agent that takes all tokens of an answer but the last, breaks off, and asks for the same answer again.

The executor works and nobody pays for it.
"""

from p2p.base.errors import FolkmootError
from p2p.base.keys import peer_id
from p2p.base.types import VERSION
from p2p.lab.attacks.base import Attack
from p2p.peer.agent import Agent, _Session
from p2p.wire.frames import Declined, Done, Failure, Forward, Frame, Tokens, Working, pack_frame, receive_frame

AGAIN = 20  # times each executor is asked for one answer


class BreaksOff(Agent):
    async def _try(self, session: _Session, node: bytes, *told: Frame) -> Done | Declined:
        await session.reader.show(*told)
        for _ in range(AGAIN):
            try:
                await self._take_all_but_one(session, node)
            except FolkmootError:
                break
        return Declined(node, "had enough", None)

    async def _take_all_but_one(self, session: _Session, node: bytes) -> None:
        signed = session.ask.signed_request
        stream = await self.open_stream(peer_id(node), "infer")
        try:
            await stream.send(pack_frame(Forward(VERSION, signed, session.ask.body, self.key.public, b"")))
            left = signed.request.max_tokens - 1
            while left > 0:
                frame = await receive_frame(
                    stream, Tokens, Working, Done, Declined, Failure, timeout_s=self.first_token_timeout_s
                )
                if isinstance(frame, Working):
                    continue
                if not isinstance(frame, Tokens):
                    return
                left -= len(frame.tokens)
        finally:
            await stream.reset()


ATTACK = Attack(
    "breaks_off", "An agent that takes all tokens but the last and asks for the same answer again.",
    "the executor's count of what it worked ahead", agent=BreaksOff,
)
