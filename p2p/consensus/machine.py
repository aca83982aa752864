"""The round state machine of one height (Tendermint, arXiv 1807.04938). Law: no clock, no randomness, no I/O; inputs in, effects out.

Rules are run to a fixpoint after each input, in the order D S K P N T; README.md gives each label's meaning (L = the paper's line).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from p2p.consensus.messages import NIL_ROUND, SignedProposal, SignedVote, VoteType
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper
from p2p.limits import MAX_FUTURE_ROUNDS


class Step(IntEnum):
    NEW = 0
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    DECIDED = 4


class TimeoutKind(IntEnum):
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


@dataclass(frozen=True, slots=True)
class Propose:
    """This peer is the round's proposer: re-propose block_id (with its valid round), or a new block when None."""

    round: int
    block_id: bytes | None
    valid_round: int


@dataclass(frozen=True, slots=True)
class CastVote:
    type: VoteType
    round: int
    block_id: bytes | None
    valid_round: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    kind: TimeoutKind
    round: int


@dataclass(frozen=True, slots=True)
class Decide:
    block_id: bytes
    round: int


Effect = Propose | CastVote | SetTimer | Decide


class Machine:
    """State of one height. me: this peer's key. proposer_of(round): whose turn it is."""

    def __init__(self, me: bytes, validators: ValidatorSet, proposer_of: Callable[[int], bytes]) -> None:
        self.me, self.validators, self.proposer_of = me, validators, proposer_of
        self.votes = VoteKeeper(validators)
        self.round, self.step = 0, Step.NEW
        self.locked: tuple[bytes, int] | None = None
        self.valid: tuple[bytes, int] | None = None
        self.proposals: dict[int, SignedProposal] = {}
        self.proposal_conflicts: dict[tuple[bytes, int], tuple[SignedProposal, SignedProposal]] = {}
        self.validity: dict[bytes, bool] = {}
        self._once: set[tuple[str, int]] = set()
        self._out: list[Effect] = []

    # -- inputs ---------------------------------------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """StartHeight."""
        if self.step is Step.NEW:
            self._start_round(0)
        return self._run()

    def on_proposal(self, signed: SignedProposal, valid: bool) -> list[Effect]:
        """A proposal whose signature and proposer are right; `valid`: what the application says of its block."""
        proposal = signed.proposal
        if proposal.proposer != self.proposer_of(proposal.round):
            return []  # before anything is remembered: two proposers in one round are no conflict of one
        known = self.proposals.get(proposal.round)
        if known is not None:
            if known.proposal != proposal:
                self.proposal_conflicts.setdefault((proposal.proposer, proposal.round), (known, signed))
            return []
        if proposal.round > self.round + MAX_FUTURE_ROUNDS and not self.validators.has_honest(
            self.votes.weight_in_round(proposal.round)
        ):
            return []
        self.proposals[proposal.round] = signed
        self.validity[proposal.block_id] = valid
        return self._run()

    def on_vote(self, signed: SignedVote) -> list[Effect]:
        return self._run() if self.votes.add(signed, self.round) else []

    def on_timeout(self, kind: TimeoutKind, round_: int) -> list[Effect]:
        if round_ != self.round or self.step in (Step.NEW, Step.DECIDED):
            return []
        if kind is TimeoutKind.PROPOSE and self.step is Step.PROPOSE:  # L57
            self._prevote(None, NIL_ROUND)
        elif kind is TimeoutKind.PREVOTE and self.step is Step.PREVOTE:  # L61
            self._precommit(None)
        elif kind is TimeoutKind.PRECOMMIT:  # L65
            self._start_round(self.round + 1)
        return self._run()

    # -- rules ----------------------------------------------------------------------------------------------------

    def _run(self) -> list[Effect]:
        if self.step is not Step.NEW:
            rules = (self._rule_d, self._rule_s, self._rule_k, self._rule_p, self._rule_n, self._rule_t)
            while self.step is not Step.DECIDED and any(rule() for rule in rules):
                pass
        out, self._out = self._out, []
        return out

    def _start_round(self, round_: int) -> None:
        """L11."""
        self.round, self.step = round_, Step.PROPOSE
        if self.proposer_of(round_) == self.me:
            self._out.append(Propose(round_, *(self.valid or (None, NIL_ROUND))))
        self._out.append(SetTimer(TimeoutKind.PROPOSE, round_))

    def _rule_d(self) -> bool:
        """D (L49): quorum of precommits for a valid proposal of any round."""
        for _, signed in sorted(self.proposals.items()):
            block_id = signed.proposal.block_id
            # the proposal may be of another round than the precommits: all rounds that hold votes count
            for voted in self.votes.rounds_above(-1):
                weight = self.votes.weight_for(voted, VoteType.PRECOMMIT, block_id)
                if self.validity[block_id] and self.validators.is_quorum(weight):
                    self.step = Step.DECIDED
                    self._out.append(Decide(block_id, voted))
                    return True
        return False

    def _rule_s(self) -> bool:
        """S (L55): more than a third voting in a later round."""
        for round_ in self.votes.rounds_above(self.round):
            if self.validators.has_honest(self.votes.weight_in_round(round_)):
                self._start_round(round_)
                return True
        return False

    def _rule_k(self) -> bool:
        """K (L36), once per round: polka for this round's valid proposal: lock and precommit, or remember as valid."""
        signed = self.proposals.get(self.round)
        if signed is None or self.step < Step.PREVOTE or ("K", self.round) in self._once:
            return False
        proposal = signed.proposal
        weight = self.votes.weight_for(self.round, VoteType.PREVOTE, proposal.block_id, proposal.pol_round)
        if not self.validity[proposal.block_id] or not self.validators.is_quorum(weight):
            return False
        self._once.add(("K", self.round))
        if self.step is Step.PREVOTE:
            self.locked = (proposal.block_id, self.round)
            self._precommit(proposal.block_id)
        self.valid = (proposal.block_id, self.round)
        return True

    def _rule_p(self) -> bool:
        """P (L22, L28): the round's proposal arrived: prevote it unless it is invalid or a lock forbids it."""
        signed = self.proposals.get(self.round)
        if signed is None or self.step is not Step.PROPOSE:
            return False
        block_id, pol_round = signed.proposal.block_id, signed.proposal.pol_round
        if pol_round >= self.round:
            return False
        if pol_round >= 0 and not self.validators.is_quorum(self.votes.weight_for(pol_round, VoteType.PREVOTE, block_id)):
            return False  # its polka may still come
        free = self.locked is None or self.locked[0] == block_id or (pol_round >= 0 and self.locked[1] <= pol_round)
        good = self.validity[block_id] and free
        self._prevote(block_id if good else None, pol_round if good else NIL_ROUND)
        return True

    def _rule_n(self) -> bool:
        """N (L44): quorum of nil prevotes."""
        if self.step is Step.PREVOTE and self.validators.is_quorum(self.votes.weight_for(self.round, VoteType.PREVOTE, None)):
            self._precommit(None)
            return True
        return False

    def _rule_t(self) -> bool:
        """T (L34, L47), once each: quorum of any votes starts the step's timer."""
        if self.step is Step.PREVOTE and self._first_quorum(VoteType.PREVOTE):
            self._out.append(SetTimer(TimeoutKind.PREVOTE, self.round))
            return True
        if self._first_quorum(VoteType.PRECOMMIT):
            self._out.append(SetTimer(TimeoutKind.PRECOMMIT, self.round))
            return True
        return False

    def _first_quorum(self, kind: VoteType) -> bool:
        mark = (kind.name, self.round)
        if mark in self._once or not self.validators.is_quorum(self.votes.weight_any(self.round, kind)):
            return False
        self._once.add(mark)
        return True

    def _prevote(self, block_id: bytes | None, valid_round: int) -> None:
        self.step = Step.PREVOTE
        self._out.append(CastVote(VoteType.PREVOTE, self.round, block_id, valid_round))

    def _precommit(self, block_id: bytes | None) -> None:
        self.step = Step.PRECOMMIT
        self._out.append(CastVote(VoteType.PRECOMMIT, self.round, block_id, NIL_ROUND))
