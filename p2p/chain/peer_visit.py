"""One visit to a peer that may have history to give.

Law: waiting for it is paid from an allowance, which only an answer that proved right refills; so a peer that answers
just before each timeout delays nobody for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from p2p.base.errors import RemoteProtocolError, Unavailable
from p2p.base.limits import FRAME_TIMEOUT_S, VISIT_ANSWER_S, VISIT_START_S
from p2p.machine.deadlines import fail_after, own_time
from p2p.wire.failures import raise_failure
from p2p.wire.frames import Failure as FailureFrame
from p2p.wire.frames import Frame, pack_frame, receive_frame

if TYPE_CHECKING:
    from p2p.gossip.connections.streams import Stream

F = TypeVar("F", bound="Frame")


class TooSlow(Unavailable):
    """The allowance is used up. The peer did not lie: the way to it may be long."""

    code = "too_slow"


class Visit:
    """may_be_slow: nobody is quicker, so each answer may take as long as a frame may."""

    def __init__(self, stream: Stream, *, may_be_slow: bool) -> None:
        self._stream, self._may_be_slow, self._left_s = stream, may_be_slow, VISIT_START_S
        self.gains = 0  # answers that proved right
        self.quick = True  # never waited beyond the allowance, whether that would have ended it or not

    async def ask(self, request: Frame, kind: type[F]) -> F:
        """One question, one answer of the right kind. Raises the other side's error as ours, and TooSlow."""
        began = own_time()
        if not self._may_be_slow and not self.quick:
            raise TooSlow("others give history quicker", field="stream")
        try:
            with fail_after(FRAME_TIMEOUT_S if self._may_be_slow else self._left_s):
                await self._stream.send(pack_frame(request))
                frame = await receive_frame(self._stream, kind, FailureFrame)
        except trio.TooSlowError:
            raise TooSlow("others give history quicker", field="stream") from None
        # what passed since the answer was there counts too
        self._left_s = max(0.0, self._left_s - (own_time() - began))
        self.quick = self.quick and self._left_s > 0.0
        if isinstance(frame, FailureFrame):
            raise_failure(frame)
        if not isinstance(frame, kind):
            raise RemoteProtocolError(f"{type(frame).__name__} instead of {kind.__name__}", field="frame")
        return frame

    def gained(self) -> None:
        """The last answer proved right."""
        self.gains += 1
        self._left_s = min(self._left_s + VISIT_ANSWER_S, VISIT_START_S)
