"""One validator's state at one height, and the events that move it. Law: at most one effect per event; nothing is
counted here.

This is the transition table of Tendermint (arXiv 1807.04938; L is a line of its Algorithm 1). The machine counts votes
and calls the event that a quorum means. An event that does not apply changes nothing and gives None. As in the paper,
some events do not look at the step; the machine sends none after the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from p2p.consensus.messages import NIL_ROUND, VoteType


class Step(IntEnum):
    NEW = 0
    UNSTARTED = 1  # one round is left and the next one not entered yet
    PROPOSE = 2
    PREVOTE = 3
    PRECOMMIT = 4
    DECIDED = 5


class TimeoutKind(IntEnum):
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


@dataclass(frozen=True, slots=True)
class Propose:
    """This peer is the round's proposer."""

    round: int
    block_id: bytes | None  # the block to propose again; None: a new one
    valid_round: int  # of that block, -1 for none


@dataclass(frozen=True, slots=True)
class CastVote:
    type: VoteType
    round: int
    block_id: bytes | None
    valid_round: int


@dataclass(frozen=True, slots=True)
class ScheduleTimeout:
    kind: TimeoutKind
    round: int


@dataclass(frozen=True, slots=True)
class SkipRound:
    """Leave this round; the machine calls new_round(round) next."""

    round: int


@dataclass(frozen=True, slots=True)
class Decide:
    block_id: bytes
    round: int


Effect = Propose | CastVote | ScheduleTimeout | SkipRound | Decide


class RoundState:
    """The round, the step, and two (block, round) pairs: `locked` is what this peer precommitted last, `valid` the
    last block whose polka it saw in that round."""

    def __init__(self) -> None:
        self.round, self.step = NIL_ROUND, Step.NEW
        self.locked: tuple[bytes, int] | None = None
        self.valid: tuple[bytes, int] | None = None

    def new_round(self, round_: int, *, proposer: bool) -> Effect | None:
        """L11-21: enter a round."""
        if self.step not in (Step.NEW, Step.UNSTARTED) or round_ <= self.round:
            return None
        self.round, self.step = round_, Step.PROPOSE
        if proposer:
            return Propose(round_, *(self.valid or (None, NIL_ROUND)))
        return ScheduleTimeout(TimeoutKind.PROPOSE, round_)

    def proposal(self, block_id: bytes, *, valid: bool) -> Effect | None:
        """L22: a fresh proposal, one without a valid round, arrived in this round."""
        free = self.locked is None or self.locked[0] == block_id
        return self._prevote(block_id if valid and free else None, NIL_ROUND)

    def proposal_with_polka(self, block_id: bytes, valid_round: int, *, valid: bool) -> Effect | None:
        """L28: a re-proposal arrived in this round, and the polka of `valid_round` that it names is here."""
        if not 0 <= valid_round < self.round:
            return None
        free = self.locked is None or self.locked[0] == block_id or self.locked[1] <= valid_round
        return self._prevote(block_id, valid_round) if valid and free else self._prevote(None, NIL_ROUND)

    def polka_any(self) -> Effect | None:
        """L34: a quorum of any prevotes."""
        return ScheduleTimeout(TimeoutKind.PREVOTE, self.round) if self.step is Step.PREVOTE else None

    def polka(self, block_id: bytes) -> Effect | None:
        """L36: this round's valid proposal has its polka: lock and precommit it, or only remember it as valid."""
        if self.step not in (Step.PREVOTE, Step.PRECOMMIT):
            return None
        self.valid = (block_id, self.round)
        if self.step is Step.PRECOMMIT:
            return None
        self.locked = (block_id, self.round)
        return self._precommit(block_id)

    def polka_nil(self) -> Effect | None:
        """L44: a quorum of nil prevotes."""
        return self._precommit(None) if self.step is Step.PREVOTE else None

    def precommit_any(self) -> Effect | None:
        """L47: a quorum of any precommits, in any step."""
        return ScheduleTimeout(TimeoutKind.PRECOMMIT, self.round)

    def commit(self, block_id: bytes, round_: int) -> Effect | None:
        """L49: a quorum of precommits for a valid block, of any round."""
        if self.step is Step.DECIDED:
            return None
        self.step = Step.DECIDED
        return Decide(block_id, round_)

    def skip(self, round_: int) -> Effect | None:
        """L55: more than a third are in a later round."""
        if round_ <= self.round:
            return None
        self.step = Step.UNSTARTED
        return SkipRound(round_)

    def timeout(self, kind: TimeoutKind, round_: int) -> Effect | None:
        """L57, L61, L65: a timer ends; it counts only in the round it was set for."""
        if round_ != self.round:
            return None
        if kind is TimeoutKind.PROPOSE and self.step is Step.PROPOSE:
            return self._prevote(None, NIL_ROUND)
        if kind is TimeoutKind.PREVOTE and self.step is Step.PREVOTE:
            return self._precommit(None)
        return self.skip(self.round + 1) if kind is TimeoutKind.PRECOMMIT else None

    def _prevote(self, block_id: bytes | None, valid_round: int) -> Effect | None:
        if self.step is not Step.PROPOSE:
            return None
        self.step = Step.PREVOTE
        return CastVote(VoteType.PREVOTE, self.round, block_id, valid_round)

    def _precommit(self, block_id: bytes | None) -> Effect:
        self.step = Step.PRECOMMIT
        return CastVote(VoteType.PRECOMMIT, self.round, block_id, NIL_ROUND)
