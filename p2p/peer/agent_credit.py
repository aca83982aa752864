"""Decides for which agents and accounts this executor works ahead of the chain.

Law: an agent is blamed only for what it alone caused. What its clients did is held against them first, and against the
agent only if it brings little else. What is remembered is bounded.

A request begun here ends in one of these ways. It is finished by some executor and paid for, or checked, like any
other. The chain refuses its Start for something the client did: it spent the money elsewhere, used the nonce twice,
signed too low a price. No Start ever comes. Agent and chain disagree on what was streamed. Or the agent breaks off and
nobody finishes the request, so that its escrow returns although tokens were streamed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from p2p.base.serving_limits import HEIGHTS_APART, MAX_METERED, MAX_UNPAID, MAX_UNSTARTED
from p2p.base.types import SignedRequest, Status
from p2p.ledger.participants.serving import DRAW_WINDOW

FORGOTTEN_AFTER = 20 * DRAW_WINDOW  # heights
GOOD_PER_UNPAID = 4  # so many finished requests of an agent excuse one that its client did not pay for
_KEPT = 64  # requests remembered of one agent
# fields of a refused Start that only the client can have made wrong after this peer checked them
OF_THE_CLIENT = frozenset({
    "balance", "client_nonce", "max_price_micro", "deadline_height", "signer", "request_cap_micro", "epoch_cap_micro",
})
_UNFINISHED = (Status.STARTED.value, Status.EXPIRED.value)


class End(Enum):
    """What became of a request that was begun here."""

    OPEN = "open"  # not known yet
    GOOD = "good"  # it was finished, by whichever executor
    AGENT = "agent"  # the agent's fault
    CLIENT = "client"  # the client's fault
    NOBODY = "nobody"  # nobody's fault, or it cannot be told whose


@dataclass(slots=True)
class Work:
    """One request that was begun here."""

    height: int  # at which it began
    signed: SignedRequest
    end: End = End.OPEN
    left: bool = False  # the agent broke off before the finish was signed
    failed: bool = False  # it ended here without a finish, and not because of the agent alone


@dataclass(slots=True)
class Credit:
    """One per executor. The chain tells it of refused Starts (`refused`)."""

    # what the chain knows of a request: the inference's status; 'nonce' where only its nonce is used, by whichever
    # request,
    # which is not the agent's fault; '' for nothing
    status: Callable[[SignedRequest], str]
    # whether an agent has something to lose. A key that costs nothing is forgiven nothing, else each new one would be
    # worth
    # MAX_UNSTARTED answers at every executor
    has_weight: Callable[[bytes], bool] = lambda agent: True
    starter: Callable[[bytes], bytes | None] = lambda inference_id: None  # the agent that started an inference on chain
    _of: dict[bytes, deque[Work]] = field(default_factory=dict)  # agent -> its requests, oldest first
    _unpaid: dict[bytes, deque[int]] = field(default_factory=dict)  # account -> heights of Starts it made fail

    def note(self, agent: bytes, signed: SignedRequest, height: int) -> Work:
        """A request of this agent begins at `height`."""
        work = Work(height, signed)
        self._of.setdefault(agent, deque(maxlen=_KEPT)).append(work)
        return work

    def was_begun(self, agent: bytes, inference_id: bytes) -> bool:
        """Whether this request was begun here and ended without a finish. It is not begun a second time: an honest
        agent asks each executor once."""
        return any(
            work.signed.inference_id == inference_id and (work.left or work.failed) for work in self._of.get(agent, ())
        )

    def refused(self, agent: bytes, inference_id: bytes, what: str, height: int) -> None:
        """The chain refused this agent's Start because of the field `what`. A Start that came twice is refused although
        it is on chain. One that names its agent wrongly, or comes late though there was time, is the agent's fault, as
        if none had come."""
        for work in self._of.get(agent, ()):
            if work.signed.inference_id != inference_id or work.end is not End.OPEN or what == "agent":
                continue
            if self.status(work.signed) not in ("", "nonce"):
                continue
            if what in OF_THE_CLIENT:
                work.end = End.CLIENT
                self._owed_by(work.signed.request.account, height)
            elif what != "draw_height" or work.height - work.signed.request.draw_height > HEIGHTS_APART:
                work.end = End.NOBODY  # the client signed an old height and left little time

    def problem(self, agent: bytes, account: bytes, height: int) -> str:
        """Why this executor does not work ahead of the chain for this agent and account now; '' if it does."""
        entries = self._entries(agent, height)
        ends = [entry.end for entry in entries]
        if ends.count(End.AGENT) > (MAX_UNSTARTED if self.has_weight(agent) else 0):
            return "this agent does not put on chain what this peer did for it"
        if sum(height - at <= FORGOTTEN_AFTER for at in self._unpaid.get(account, ())) > MAX_UNPAID:
            return "this account spent elsewhere what it promised here"
        if ends.count(End.CLIENT) > MAX_UNSTARTED + ends.count(End.GOOD) // GOOD_PER_UNPAID:
            return "too many clients of this agent spent elsewhere what they promised here"
        return ""

    def _owed_by(self, account: bytes, height: int) -> None:
        heights = self._unpaid.pop(account, deque(maxlen=MAX_UNPAID + 1))
        heights.append(height)
        self._unpaid[account] = heights  # the newest last
        while len(self._unpaid) > MAX_METERED:
            del self._unpaid[next(iter(self._unpaid))]

    def _entries(self, agent: bytes, height: int) -> deque[Work]:
        """The agent's requests that are not forgotten, each with its end as far as it is known by now."""
        recent = (work for work in self._of.pop(agent, ()) if height - work.height <= FORGOTTEN_AFTER)
        kept = deque(recent, maxlen=_KEPT)
        if kept:
            self._of[agent] = kept
        for work in kept:
            work.end = self._end(agent, work, height)
        return kept

    def _end(self, agent: bytes, work: Work, height: int) -> End:
        status = self.status(work.signed)
        # its Start is on chain, and the agent did not confirm what it streamed
        if status == Status.UNCONFIRMED.value:
            return End.AGENT
        if not status or status == "nonce":
            if work.end is not End.OPEN:  # it has left the state: what was known stays
                return work.end
            if work.left or (not status and height - work.height > DRAW_WINDOW):
                return End.AGENT
            return End.NOBODY if status else End.OPEN
        if self.starter(work.signed.inference_id) not in (None, agent):
            return End.NOBODY
        if status not in _UNFINISHED:
            return End.GOOD
        if work.left:  # until another executor finishes it: else what was streamed is never paid
            return End.AGENT
        return End.OPEN if status == Status.STARTED.value else End.NOBODY
