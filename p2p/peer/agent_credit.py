"""For whom this executor works ahead of the chain. Law: an agent's word is held against it only where it alone made it
false; what its clients did is held against them first, and against the agent only as far as it brings little else; what
is remembered is bounded.

What becomes of a request that was begun here is one of these: it is finished, by whomever, and paid for or checked like
any other; the chain refuses its Start for something the client did (it spent the money elsewhere, took the nonce twice,
signed too low a price); no Start ever comes; agent and chain do not agree on what was streamed; the agent breaks off
and nobody finishes it, so that its escrow goes back though there was an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from p2p.base.limits import HEIGHTS_APART, MAX_METERED, MAX_UNPAID, MAX_UNSTARTED
from p2p.base.types import SignedRequest, Status
from p2p.ledger.participants.serving import DRAW_WINDOW

FORGOTTEN_AFTER = 20 * DRAW_WINDOW  # heights
GOOD_PER_UNPAID = 4  # of an agent's requests, so many good ones excuse one that its client did not pay for
_KEPT = 64  # of one agent
# fields that a refused Start names and that nobody but the client can have made wrong after this peer looked
OF_THE_CLIENT = frozenset({
    "balance", "client_nonce", "max_price_micro", "deadline_height", "signer", "request_cap_micro", "epoch_cap_micro",
})
_UNFINISHED = (Status.STARTED.value, Status.EXPIRED.value)


class End(Enum):
    """What became of a request: it waits; good: it was finished; the agent's fault; the client's; nobody's, or nobody
    can tell whose."""

    OPEN = "open"
    GOOD = "good"
    AGENT = "agent"
    CLIENT = "client"
    NOBODY = "nobody"


@dataclass(slots=True)
class Work:
    """Work for one request, begun at `height`. left: its agent broke off before the finish was signed. failed: it ended
    here without a finish, and the agent alone did not cause that."""

    height: int
    signed: SignedRequest
    end: End = End.OPEN
    left: bool = False
    failed: bool = False


@dataclass(slots=True)
class Credit:
    """status: what the chain knows of a request: the inference's status, 'nonce' where only its nonce is used (by
    whichever request: then it is not the agent's fault), '' where nothing. It is told of refused Starts by the chain
    (`refused`). has_weight: whether an agent has something to lose; a key that costs nothing is not forgiven anything,
    else each new one would be worth MAX_UNSTARTED answers at every executor. starter: which agent started a request, as
    far as the chain knows."""

    status: Callable[[SignedRequest], str]
    has_weight: Callable[[bytes], bool] = lambda agent: True
    starter: Callable[[bytes], bytes | None] = lambda inference_id: None
    _of: dict[bytes, deque[Work]] = field(default_factory=dict)
    _unpaid: dict[bytes, deque[int]] = field(default_factory=dict)  # account -> heights

    def note(self, agent: bytes, signed: SignedRequest, height: int) -> Work:
        """Work for it begins at `height`."""
        work = Work(height, signed)
        self._of.setdefault(agent, deque(maxlen=_KEPT)).append(work)
        return work

    def was_begun(self, agent: bytes, inference_id: bytes) -> bool:
        """Whether this request came to an end here without a finish. Then it is not begun a second time: an agent goes
        down its list once."""
        return any(
            work.signed.inference_id == inference_id and (work.left or work.failed) for work in self._of.get(agent, ())
        )

    def refused(self, agent: bytes, inference_id: bytes, what: str, height: int) -> None:
        """The chain refused this agent's Start, for the field `what`. A Start that is said twice is refused and yet
        there; one that names its agent wrongly, or comes too late though there was time, is the agent's doing: as if
        there were none."""
        for work in self._of.get(agent, ()):
            if work.signed.inference_id != inference_id or work.end is not End.OPEN or what == "agent":
                continue
            if self.status(work.signed) not in ("", "nonce"):
                continue
            if what in OF_THE_CLIENT:
                work.end = End.CLIENT
                self._owed_by(work.signed.request.account, height)
            elif what != "draw_height" or work.height - work.signed.request.draw_height > HEIGHTS_APART:
                work.end = End.NOBODY  # the client signed an old height, so little time was left

    def problem(self, agent: bytes, account: bytes, height: int) -> str:
        """Why nothing is done ahead of the chain for this agent and account now; '' where it is."""
        entries = self._entries(agent, height)
        ends = [entry.end for entry in entries]
        if ends.count(End.AGENT) > (MAX_UNSTARTED if self.has_weight(agent) else 0):
            return "this agent does not put on chain what was done for it"
        if sum(height - at <= FORGOTTEN_AFTER for at in self._unpaid.get(account, ())) > MAX_UNPAID:
            return "this account spent elsewhere what it had promised here"
        if ends.count(End.CLIENT) > MAX_UNSTARTED + ends.count(End.GOOD) // GOOD_PER_UNPAID:
            return "too many clients of this agent spent elsewhere what they had promised here"
        return ""

    def _owed_by(self, account: bytes, height: int) -> None:
        heights = self._unpaid.pop(account, deque(maxlen=MAX_UNPAID + 1))
        heights.append(height)
        self._unpaid[account] = heights  # the newest last
        while len(self._unpaid) > MAX_METERED:
            del self._unpaid[next(iter(self._unpaid))]

    def _entries(self, agent: bytes, height: int) -> deque[Work]:
        """What is remembered of it, as far as it can be known by now."""
        kept = deque((work for work in self._of.pop(agent, ()) if height - work.height <= FORGOTTEN_AFTER), maxlen=_KEPT)
        if kept:
            self._of[agent] = kept
        for work in kept:
            work.end = self._end(agent, work, height)
        return kept

    def _end(self, agent: bytes, work: Work, height: int) -> End:
        status = self.status(work.signed)
        # whatever was said of its Start: it is there, and the agent did not say what it streamed
        if status == Status.UNCONFIRMED.value:
            return End.AGENT
        if not status or status == "nonce":
            if work.end is not End.OPEN:  # one that has left the state was what it was
                return work.end
            if work.left or (not status and height - work.height > DRAW_WINDOW):
                return End.AGENT
            return End.NOBODY if status else End.OPEN
        if self.starter(work.signed.inference_id) not in (None, agent):
            return End.NOBODY
        if status not in _UNFINISHED:
            return End.GOOD
        if work.left:  # until another executor has finished it: what was streamed goes free otherwise
            return End.AGENT
        return End.OPEN if status == Status.STARTED.value else End.NOBODY
