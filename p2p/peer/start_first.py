"""Which requests an executor begins before their Start is on chain, and which wait for it.

Law: no account and no agent keeps others from waiting.

To wait costs nothing, so the places are shared: a few for each account, a few for each agent without weight. When all
are taken, the agent that holds most loses one to an agent that holds less. A wait that ends without a Start counts
against its agent once the Start can no longer come (agent_credit.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from p2p.base.errors import Overloaded, RemoteProtocolError
from p2p.base.serving_limits import MAX_WAITING_STARTS, START_POLL_S, START_WAIT_S, WAITING_OF_ACCOUNT, WAITING_OF_AGENT
from p2p.peer.agent_credit import Credit
from p2p.peer.ahead import Ahead
from p2p.wire.frames import Forward

if TYPE_CHECKING:
    from p2p.chain.chain import Chain

LATE = "its Start is not on chain, and its account has not paid enough so far to be served before"
FULL = "too many requests whose Start is not on chain yet wait here"


@dataclass(slots=True)
class Waiting:
    """The requests that wait."""

    # inference -> its agent, its account, and the scope that ends the wait early
    _rows: dict[bytes, tuple[bytes, bytes, trio.CancelScope]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._rows)

    @contextmanager
    def hold(self, inference_id: bytes, agent: bytes, account: bytes, *, weighs: bool) -> Iterator[None]:
        """One request waits while the block runs; the block is cancelled if it must make room. weighs: whether the
        agent has weight. Raises Overloaded; RemoteProtocolError if the request waits already."""
        if inference_id in self._rows:
            raise RemoteProtocolError("this request waits here for its Start already", field="inference_id", penalty=0)
        of_agent = Counter(row[0] for row in self._rows.values())
        if sum(row[1] == account for row in self._rows.values()) >= WAITING_OF_ACCOUNT:
            raise Overloaded(f"{FULL}: {WAITING_OF_ACCOUNT} of this account", field="account", retry_after=1)
        if not weighs and of_agent[agent] >= WAITING_OF_AGENT:
            raise Overloaded(f"{FULL}: {WAITING_OF_AGENT} of this agent", field="agent", retry_after=1)
        if len(self._rows) >= MAX_WAITING_STARTS:
            greedy, most = of_agent.most_common(1)[0]
            if most <= of_agent[agent] + 1:
                raise Overloaded(FULL, field="executor", retry_after=1)
            newest = [key for key, row in self._rows.items() if row[0] == greedy][-1]
            self._rows.pop(newest)[2].cancel()
        scope = trio.CancelScope()
        self._rows[inference_id] = (agent, account, scope)
        try:
            with scope:
                yield
        finally:
            if self._rows.get(inference_id, (b"", b"", None))[2] is scope:
                del self._rows[inference_id]


class StartFirst:
    """One per executor."""

    def __init__(self, chain: Chain, credit: Credit) -> None:
        self._chain, self._credit = chain, credit
        self.waiting = Waiting()
        self.ahead = Ahead(lambda inference_id, agent: chain.reader.starter_of(inference_id) == agent)

    async def wait(self, forward: Forward) -> str:
        """Wait for the request's Start. Why it did not come to the chain; '' if it did."""
        signed, request, agent = forward.signed_request, forward.signed_request.request, forward.agent
        height = self._chain.height()
        if owes := self._credit.problem(agent, request.account, height):
            return owes
        try:
            with (
                trio.move_on_after(START_WAIT_S) as time,
                self.waiting.hold(
                    signed.inference_id, agent, request.account, weighs=self._chain.reader.has_weight(agent)
                ),
            ):
                while not self._chain.reader.is_void(signed):
                    await trio.sleep(START_POLL_S)
                    if self._chain.reader.draw_of(signed.inference_id) is not None:
                        return ""
        except Overloaded as error:
            return error.message
        if time.cancelled_caught:
            self._credit.note(agent, signed, height)
        return LATE

    def goes_ahead(self, forward: Forward) -> bool:
        """Whether the request may begin at once: its money is on chain, or its account has proven enough (ahead.py)."""
        signed, request = forward.signed_request, forward.signed_request.request
        if self._chain.reader.draw_of(signed.inference_id) is not None:
            return True
        executors = len(self._chain.reader.serving_at(request.model, request.draw_height).pairs())
        escrow, height = self._chain.reader.escrow_micro(signed), self._chain.height()
        trusted = self._chain.reader.trusted_micro(request.account)
        if self.ahead.covers(request.account, escrow, trusted, executors, height):
            self.ahead.note(request.account, forward.agent, signed.inference_id, escrow, height)
            return True
        return False
