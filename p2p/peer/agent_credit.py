"""For whom this executor works ahead of the chain. Law: an agent's word is held against it only where it alone made it false; what its clients did
is held against them first, and against the agent only as far as it brings little else; what is remembered is bounded.

An executor works before the Start is on chain. What then became of it is one of these: it was paid for or checked like any other; the chain
refused its Start for something the client did (it spent the money elsewhere, took the nonce twice, signed too low a price); no Start ever came,
or one that came too late; agent and chain do not agree on what was streamed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from p2p.base.limits import MAX_METERED, MAX_UNPAID, MAX_UNSTARTED
from p2p.base.types import SignedRequest, Status
from p2p.ledger.participants.serving import DRAW_WINDOW

FORGOTTEN_AFTER = 20 * DRAW_WINDOW  # heights
GOOD_PER_UNPAID = 4  # of an agent's requests, so many good ones excuse one that its client did not pay for
_KEPT = 64  # of one agent
OF_THE_AGENT = frozenset({"agent", "draw_height"})  # fields that a refused Start names and the agent chose; all others the client signed


class End(Enum):
    """What became of a request: it waits; good: its escrow was held; the agent's fault; the client's."""

    OPEN = "open"
    GOOD = "good"
    AGENT = "agent"
    CLIENT = "client"


@dataclass(slots=True)
class _Entry:
    height: int
    signed: SignedRequest
    end: End = End.OPEN


@dataclass(slots=True)
class Credit:
    """status: what the chain knows of a request: the inference's status, 'nonce' where only its nonce is used (by whichever request: then it is
    not the agent's fault), '' where nothing. It is told of refused Starts by the chain (`refused`). has_weight: whether an agent has something
    to lose; a key that costs nothing is not forgiven anything, else each new one would be worth MAX_UNSTARTED answers at every executor."""

    status: Callable[[SignedRequest], str]
    has_weight: Callable[[bytes], bool] = lambda agent: True
    _of: dict[bytes, deque[_Entry]] = field(default_factory=dict)
    _unpaid: dict[bytes, deque[int]] = field(default_factory=dict)  # account -> heights

    def note(self, agent: bytes, signed: SignedRequest, height: int) -> None:
        """Work for it begins at `height`."""
        self._of.setdefault(agent, deque(maxlen=_KEPT)).append(_Entry(height, signed))

    def refused(self, agent: bytes, inference_id: bytes, what: str, height: int) -> None:
        """The chain refused this agent's Start, for the field `what`."""
        for entry in self._of.get(agent, ()):
            if entry.signed.inference_id == inference_id and entry.end is End.OPEN and what not in OF_THE_AGENT:
                entry.end = End.CLIENT
                self._owed_by(entry.signed.request.account, height)

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

    def _entries(self, agent: bytes, height: int) -> deque[_Entry]:
        """What is remembered of it, as far as it can be known by now."""
        kept = deque((entry for entry in self._of.pop(agent, ()) if height - entry.height <= FORGOTTEN_AFTER), maxlen=_KEPT)
        if kept:
            self._of[agent] = kept
        for entry in kept:
            if entry.end in (End.OPEN, End.GOOD):
                entry.end = self._end(entry, height)
        return kept

    def _end(self, entry: _Entry, height: int) -> End:
        status = self.status(entry.signed)
        if status == Status.UNCONFIRMED.value:  # it was not this executor that signed for something else
            return End.AGENT
        if status or entry.end is End.GOOD:  # one that has left the state was good
            return End.GOOD
        return End.AGENT if height - entry.height > DRAW_WINDOW else End.OPEN
