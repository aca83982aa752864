"""The rules of one height. Law: no clock, no randomness, no I/O; verified inputs in, effects out.

The machine counts votes, matches them with proposals, and tells the round state (round.py) what happened. After each
input the rules run to a fixpoint, in the order D S K P N T. docs/consensus.md defines the labels; L is a line of
Algorithm 1 of Tendermint (arXiv 1807.04938).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from p2p.base.limits import MAX_FUTURE_ROUNDS
from p2p.consensus.messages import PolkaCertificate, Proposal, RoundCertificate, SignedProposal, SignedVote, VoteType
from p2p.consensus.round import Effect, Propose, RoundState, ScheduleTimeout, SkipRound, Step, TimeoutKind
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import Pair, VoteKeeper

# further ones of an equivocating proposer are kept only when an honest validator voted for them
PROPOSALS_PER_ROUND = 2


class Machine:
    """The state of one height. me: this peer's public key. proposer_of(round): the public key of that round's proposer.
    max_future: how many rounds ahead of ours proposals and votes are kept."""

    def __init__(
        self, me: bytes, validators: ValidatorSet, proposer_of: Callable[[int], bytes], *,
        max_future: int = MAX_FUTURE_ROUNDS, keeper: VoteKeeper | None = None,
    ) -> None:
        self.me, self.validators, self.proposer_of = me, validators, proposer_of
        self.votes = keeper or VoteKeeper(validators, max_future)
        self.state = RoundState()
        self.proposals: dict[int, list[SignedProposal]] = {}  # by round
        self.proposal_conflicts: dict[tuple[bytes, int], tuple[SignedProposal, SignedProposal]] = {}
        self.validity: dict[bytes, bool] = {}  # by block id
        # (round, block id) of fresh proposals that were not timely (rule Y)
        self.untimely: set[tuple[int, bytes]] = set()
        self._max_future = max_future
        self._once: set[tuple[str, int]] = set()  # (rule, round) of what happens once per round
        self._out: list[Effect] = []

    @property
    def round(self) -> int:
        return self.state.round

    @property
    def step(self) -> Step:
        return self.state.step

    @property
    def locked(self) -> tuple[bytes, int] | None:
        return self.state.locked

    @property
    def valid(self) -> tuple[bytes, int] | None:
        return self.state.valid

    def proposal_of(self, block_id: bytes) -> SignedProposal | None:
        """Any proposal that carries this block."""
        kept = (signed for _, found in sorted(self.proposals.items()) for signed in found)
        return next((signed for signed in kept if signed.proposal.block_id == block_id), None)

    def newest_polka(self) -> tuple[bytes, int] | None:
        """(block, round) of the newest polka for a valid block, also one that became known when its round was over.
        `valid` is only what was seen in its own round."""
        for round_, block_id in self.votes.quorums(VoteType.PREVOTE):
            if self.validity.get(block_id, False):
                return block_id, round_
        return None

    def block_to_propose(self, propose: Propose) -> tuple[bytes | None, int]:
        """Rule O: the block of the newest polka and its round; (None, -1) where a new block is to be made."""
        newest = self.newest_polka()
        if newest is not None and propose.valid_round < newest[1] < propose.round:
            return newest
        return propose.block_id, propose.valid_round

    # -- inputs ---------------------------------------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """Enter round 0, once."""
        if self.step is Step.NEW:
            self._new_round(0)
        return self._run()

    def is_near(self, round_: int) -> bool:
        """Whether a proposal of this round may be looked at: it is at most a little ahead of ours, or an honest
        validator has voted there. Asked before everything else, so that a number in a message cannot cause work."""
        return round_ <= self.round + self._max_future or self.validators.has_honest(self.votes.weight_in_round(round_))

    def wants(self, signed: SignedProposal) -> bool:
        """Whether on_proposal would keep it. What it would not keep is neither checked nor fetched nor logged."""
        proposal = signed.proposal
        if not self.is_near(proposal.round) or proposal.proposer != self.proposer_of(proposal.round):
            # proposals of two different keys do not convict anybody, so this comes before anything is kept
            return False
        known = [p.proposal for p in self.proposals.get(proposal.round, [])]
        return proposal not in known and self.has_room(proposal, known)

    def has_room(self, proposal: Proposal, known: Collection[Proposal]) -> bool:
        """Whether a proposal would be kept when the `known` ones of its round are there."""
        return len(known) < PROPOSALS_PER_ROUND or self._is_voted_for(proposal.round, proposal.block_id)

    def is_news(self, message: SignedVote | SignedProposal | PolkaCertificate | RoundCertificate) -> bool:
        """Whether anything of a verified message would be kept. Other messages are neither fed nor logged."""
        match message:
            case SignedVote():
                return self.votes.is_news(message, self.round)
            case SignedProposal():
                return self.wants(message) or (message.polka is not None and self.is_news(message.polka))
            case PolkaCertificate():
                return any(self.votes.is_news_of_quorum(vote) for vote in message.votes)
            case RoundCertificate():
                return any(self.votes.is_news_of_round(vote) for vote in message.votes)

    def on_proposal(self, signed: SignedProposal, valid: bool, timely: bool = True) -> list[Effect]:
        """A proposal whose signature is verified. valid: what the application says of its block, which stays.
        timely: what the clock said of the proposal when it arrived, which counts in its own round only (rule Y)."""
        proposal = signed.proposal
        if not self.wants(signed):
            return []
        known = self.proposals.setdefault(proposal.round, [])
        if known:
            self.proposal_conflicts.setdefault((proposal.proposer, proposal.round), (known[0], signed))
        known.append(signed)
        self.validity[proposal.block_id] = valid
        if not timely:
            self.untimely.add((proposal.round, proposal.block_id))
        return self._run()

    def _is_voted_for(self, round_: int, block_id: bytes) -> bool:
        """Whether an honest validator voted for it: more than a third did. That is true of a few blocks per round
        at most."""
        return any(self.validators.has_honest(self.votes.weight_for(round_, kind, block_id)) for kind in VoteType)

    def on_vote(self, signed: SignedVote) -> list[Effect]:
        return self._run() if self.votes.add(signed, self.round) else []

    def on_round_certificate(self, votes: Sequence[SignedVote]) -> list[Effect]:
        """Verified votes of a round certificate: they justify that round (rule S), however far ahead it is."""
        news = [self.votes.add_of_round(vote) for vote in votes]
        return self._run() if any(news) else []

    def on_certificate(self, votes: Sequence[SignedVote]) -> list[Effect]:
        """Rule C: a verified quorum for one value of one (round, type), taken whole."""
        news = [self.votes.add_of_quorum(vote) for vote in votes]
        return self._run() if any(news) else []

    def on_timeout(self, kind: TimeoutKind, round_: int) -> list[Effect]:
        if self.step in (Step.NEW, Step.DECIDED):
            return []
        self._emit(self.state.timeout(kind, round_))
        return self._run()

    # -- rules ----------------------------------------------------------------------------------------------------

    def _run(self) -> list[Effect]:
        if self.step is not Step.NEW:
            rules = (self._rule_d, self._rule_s, self._rule_k, self._rule_p, self._rule_n, self._rule_t)
            while self.step is not Step.DECIDED and any(rule() for rule in rules):
                pass
        out, self._out = self._out, []
        return out

    def _emit(self, effect: Effect | None) -> bool:
        """Queue an effect; enter the round of a SkipRound. True when the state moved or something goes out."""
        if isinstance(effect, SkipRound):
            self._new_round(effect.round)
        elif effect is not None:
            self._out.append(effect)
        return effect is not None

    def _new_round(self, round_: int) -> None:
        mine = self.proposer_of(round_) == self.me
        self._emit(self.state.new_round(round_, proposer=mine))
        if mine:  # the paper gives the proposer no timer, but its block may fail to be built
            self._out.append(ScheduleTimeout(TimeoutKind.PROPOSE, round_))

    def _rule_d(self) -> bool:
        """D (L49): a quorum of precommits for a valid proposal, of any round: decide."""
        for round_, block_id in self.votes.quorums(VoteType.PRECOMMIT):
            if self.validity.get(block_id, False):
                return self._emit(self.state.commit(block_id, round_))
        return False

    def _rule_s(self) -> bool:
        """S (L55): more than a third voted in a later round: enter it."""
        for round_ in self.votes.rounds_above(self.round):
            if self.validators.has_honest(self.votes.weight_in_round(round_)):
                return self._emit(self.state.skip(round_))
        return False

    def _rule_k(self) -> bool:
        """K (L36), once per round: a polka for this round's valid proposal: lock it and precommit, or remember it
        as valid."""
        if self.step not in (Step.PREVOTE, Step.PRECOMMIT) or ("K", self.round) in self._once:
            return False
        for signed in self.proposals.get(self.round, []):
            proposal = signed.proposal
            weight = self.votes.weight_for(self.round, VoteType.PREVOTE, proposal.block_id, proposal.pol_round)
            if self.validity[proposal.block_id] and self.validators.is_quorum(weight):
                self._once.add(("K", self.round))
                self._emit(self.state.polka(proposal.block_id))
                return True
        return False

    def _rule_p(self) -> bool:
        """P (L22, L28): the round's proposal is here: prevote it unless it is invalid or a lock forbids it."""
        if self.step is not Step.PROPOSE:
            return False
        for signed in self.proposals.get(self.round, []):
            block_id, pol_round = signed.proposal.block_id, signed.proposal.pol_round
            valid = self.validity[block_id]
            if pol_round < 0:  # rule Y: the only place where time counts
                timely = (self.round, block_id) not in self.untimely
                return self._emit(self.state.proposal(block_id, valid=valid and timely))
            if self.validators.is_quorum(self.votes.weight_for(pol_round, VoteType.PREVOTE, block_id)) and self._emit(
                self.state.proposal_with_polka(block_id, pol_round, valid=valid)
            ):
                return True
        return False  # no proposal yet, or its polka may still come

    def _rule_n(self) -> bool:
        """N (L44): a quorum of nil prevotes: precommit nil."""
        quorum = self.validators.is_quorum(self.votes.weight_for(self.round, VoteType.PREVOTE, None))
        return quorum and self._emit(self.state.polka_nil())

    def _rule_t(self) -> bool:
        """T (L34, L47), once each: a quorum of any votes starts the step's timer."""
        if self.step is Step.PREVOTE and self._first_quorum(VoteType.PREVOTE):
            return self._emit(self.state.polka_any())
        return self._first_quorum(VoteType.PRECOMMIT) and self._emit(self.state.precommit_any())

    def _first_quorum(self, kind: VoteType) -> bool:
        mark = (kind.name, self.round)
        if mark in self._once or not self.validators.is_quorum(self.votes.weight_any(self.round, kind)):
            return False
        self._once.add(mark)
        return True

    def conflicts(self) -> list[Pair]:
        """Vote pairs that prove a fault: double votes and amnesia."""
        return [*self.votes.double.values(), *self.votes.amnesia.values()]

    def size(self) -> int:
        """Messages kept: what must stay bounded."""
        return self.votes.size() + sum(map(len, self.proposals.values())) + 2 * len(self.proposal_conflicts)
