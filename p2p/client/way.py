"""How an agent went down its draw.

Law: executors are asked in the draw's order, one after the other; those that were left out on the agent's word alone
are counted. Nobody can prove that an executor could not be reached. So an agent that wants a friend to answer can
claim it of all executors before the friend. That may be true and is not refused, but each executor without a signed
word of its own, a Busy or tokens, is named in the receipt.
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
    """As far as the agent has shown it."""

    network: NetworkId
    tried: list[bytes] = field(default_factory=list)  # executors, the last one perhaps still
    refused: set[bytes] = field(default_factory=set)  # those that signed that they are busy
    _open: bool = False

    @property
    def asked(self) -> bytes | None:
        """The executor that is asked now; None: none is."""
        return self.tried[-1] if self._open else None

    def trying(self, accepted: Accepted | None, frame: Trying) -> None:
        """Raises RemoteProtocolError where another one is next."""
        at = len(self.tried)
        if accepted is None or self._open or accepted.candidates[at : at + 1] != (frame.node,):
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
        """Those before the last one of whom only the agent says that they did not answer. streamed: executors whose
        signed tokens the answer has."""
        return [node for node in self.tried[:-1] if node not in self.refused and node not in streamed]
