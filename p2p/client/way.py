"""The way an agent went down its draw. Law: in the draw's order, one after the other; who was left out on the agent's word alone is counted.

Nobody can prove that an executor could not be reached. So an agent that wants a friend to answer can say it of all before the friend: that may be
true and is not refused, but each of them without a word of its own, a Busy or signed tokens, stands in the receipt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, NetworkId, verify
from p2p.wire.frames import Accepted, Declined, Done, Trying


@dataclass(slots=True)
class Way:
    """As far as it was shown. tried: executors, the last one perhaps still; refused: those that said Busy under their signature."""

    network: NetworkId
    tried: list[bytes] = field(default_factory=list)
    refused: set[bytes] = field(default_factory=set)
    _open: bool = False

    def trying(self, accepted: Accepted | None, frame: Trying) -> None:
        """Raises RemoteProtocolError where another one is next."""
        if accepted is None or self._open or accepted.candidates[len(self.tried) : len(self.tried) + 1] != (frame.node,):
            raise RemoteProtocolError("the agent does not ask those drawn one after the other", field="frame")
        self.tried.append(frame.node)
        self._open = True

    def passed(self, accepted: Accepted | None, frame: Declined) -> None:
        """Raises RemoteProtocolError where it is not the one that was tried."""
        if accepted is None or not self._open or self.tried[-1] != frame.node:
            raise RemoteProtocolError("an executor passed that was not tried", field="frame")
        self._open = False
        busy = frame.busy
        if (
            busy is not None and (busy.record.executor, busy.record.inference_id) == (frame.node, accepted.inference_id)
            and verify(frame.node, Domain.BUSY, self.network, encode(busy.record), busy.signature)
        ):
            self.refused.add(frame.node)

    def problems(self, done: Done) -> list[str]:
        """What is wrong with who answered."""
        if self._open and self.tried[-1] == done.finish.record.executor:
            return []
        return ["the executor is not the one that was tried last"]

    def passed_over(self, streamed: Collection[bytes]) -> list[bytes]:
        """Those before the last one of whom only the agent says that they did not answer. streamed: whose signed tokens the answer has."""
        return [node for node in self.tried[:-1] if node not in self.refused and node not in streamed]
