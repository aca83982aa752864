"""The votes of one height. Law: the first vote per (validator, round, type) counts; a second that differs is evidence.

The one exception is a quorum certificate: it is taken whole (rule C), so a vote that an equivocator sent to others
counts for the value that they saw it for. Each validator's votes for later rounds are bounded, so memory is bounded
whatever arrives.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.limits import MAX_FUTURE_ROUNDS
from p2p.consensus.messages import SignedVote, Vote, VoteType
from p2p.consensus.validators import ValidatorSet

Slot = tuple[int, VoteType]
Pair = tuple[SignedVote, SignedVote]


class VoteKeeper:
    """Counts votes by round, type and value. Signatures are verified before; max_future: later rounds kept per
    validator.

    A vote comes in one of three ways, each with a question (`is_news...`: would anything of it be kept?) that is cheap
    and is asked before any signature is verified, and an answer (`add...`: True when it is counted now and was not
    before).
    """

    def __init__(self, validators: ValidatorSet, max_future: int = MAX_FUTURE_ROUNDS) -> None:
        self._validators = validators
        self._max_future = max_future
        self._first: dict[Slot, dict[bytes, SignedVote]] = {}
        # by (validator, block): votes of quorum certificates that differ from their sender's first
        self._beside: dict[Slot, dict[tuple[bytes, bytes | None], SignedVote]] = {}
        self._weights: dict[Slot, dict[tuple[bytes | None, int], int]] = {}  # by (block, valid round)
        self._any: dict[Slot, int] = {}  # weight of all first votes
        self._in_round: dict[int, dict[bytes, None]] = {}  # validators that voted in a round
        self._quorums: dict[Slot, dict[bytes, None]] = {}  # blocks that a quorum voted for
        self.double: dict[tuple[bytes, int, VoteType], Pair] = {}  # two votes in one slot
        self.amnesia: dict[bytes, Pair] = {}  # (precommit, later prevote that forgot it)

    # -- a vote that came alone

    def is_news(self, signed: SignedVote, round_now: int) -> bool:
        if self._is_first(signed.vote):
            return self._has_room_ahead(signed.vote, round_now)
        return self._is_new_conflict(signed.vote)

    def add(self, signed: SignedVote, round_now: int) -> bool:
        if self._is_first(signed.vote) and not self._has_room_ahead(signed.vote, round_now):
            return False
        return self._add_first(signed)

    # -- a vote of a round certificate: kept however far ahead, because more than a third voted in its round

    def is_news_of_round(self, signed: SignedVote) -> bool:
        return self._is_first(signed.vote) or self._is_new_conflict(signed.vote)

    def add_of_round(self, signed: SignedVote) -> bool:
        return self._add_first(signed)

    # -- a vote of a quorum certificate: counts even where its sender's first vote is another

    def is_news_of_quorum(self, signed: SignedVote) -> bool:
        return self.is_news_of_round(signed) or self._is_new_beside(signed.vote)

    def add_of_quorum(self, signed: SignedVote) -> bool:
        return self._add_first(signed) or self._add_beside(signed)

    # -- how votes are kept ---------------------------------------------------------------------------------------

    def _is_first(self, vote: Vote) -> bool:
        return vote.validator in self._validators and self.first(vote.validator, vote.round, vote.type) is None

    def _is_new_conflict(self, vote: Vote) -> bool:
        known = self.first(vote.validator, vote.round, vote.type)
        return known is not None and known.vote != vote and (vote.validator, vote.round, vote.type) not in self.double

    def _is_new_beside(self, vote: Vote) -> bool:
        known = self.first(vote.validator, vote.round, vote.type)
        if known is None or known.vote.block_id == vote.block_id:
            return False
        return (vote.validator, vote.block_id) not in self._beside.get((vote.round, vote.type), {})

    def _has_room_ahead(self, vote: Vote, round_now: int) -> bool:
        return vote.round <= round_now + 1 or self._rounds_ahead(vote, round_now) < self._max_future

    def _rounds_ahead(self, vote: Vote, round_now: int) -> int:
        """Other rounds after `round_now` that its sender has voted in."""
        later = (senders for r, senders in self._in_round.items() if r > round_now and r != vote.round)
        return sum(1 for senders in later if vote.validator in senders)

    def _add_first(self, signed: SignedVote) -> bool:
        """Count it when it is its sender's first of the slot; one that differs from the first is kept as evidence."""
        vote, slot = signed.vote, (signed.vote.round, signed.vote.type)
        if not self._is_first(vote):
            if self._is_new_conflict(vote):
                self.double[(vote.validator, *slot)] = self._first[slot][vote.validator], signed
            return False
        self._first.setdefault(slot, {})[vote.validator] = signed
        self._in_round.setdefault(vote.round, {})[vote.validator] = None
        self._weigh(slot, vote)
        self._any[slot] = self._any.get(slot, 0) + self._validators.weight(vote.validator)
        self._look_for_amnesia(signed)
        return True

    def _add_beside(self, signed: SignedVote) -> bool:
        vote, slot = signed.vote, (signed.vote.round, signed.vote.type)
        if not self._is_new_beside(vote):
            return False
        self._beside.setdefault(slot, {})[vote.validator, vote.block_id] = signed
        self._weigh(slot, vote)
        return True

    def _weigh(self, slot: Slot, vote: Vote) -> None:
        tally = self._weights.setdefault(slot, {})
        place = (vote.block_id, vote.valid_round)
        tally[place] = tally.get(place, 0) + self._validators.weight(vote.validator)
        if vote.block_id is not None and self._validators.is_quorum(self.weight_for(*slot, vote.block_id)):
            self._quorums.setdefault(slot, {})[vote.block_id] = None

    def _look_for_amnesia(self, signed: SignedVote) -> None:
        """Keep a pair of its sender's votes that `is_amnesia` convicts, if this vote makes one."""
        who = signed.vote.validator
        if signed.vote.block_id is None or who in self.amnesia:
            return
        for (_, kind), votes in sorted(self._first.items()):
            other = votes.get(who)
            if other is None or kind is signed.vote.type:
                continue
            pair = (other, signed) if kind is VoteType.PRECOMMIT else (signed, other)
            if is_amnesia(pair[0].vote, pair[1].vote):
                self.amnesia[who] = pair
                return

    # -- questions ------------------------------------------------------------------------------------------------

    def is_verified(self, signed: SignedVote) -> bool:
        """Whether these very bytes were verified before, so that they need no second look. Another signature under
        the same vote needs one."""
        vote = signed.vote
        return self.first(vote.validator, vote.round, vote.type) == signed

    def has(self, validator: bytes, round_: int, kind: VoteType) -> bool:
        return validator in self._first.get((round_, kind), {})

    def first(self, validator: bytes, round_: int, kind: VoteType) -> SignedVote | None:
        return self._first.get((round_, kind), {}).get(validator)

    def votes(self, round_: int, kind: VoteType) -> tuple[SignedVote, ...]:
        """First votes, ascending by validator."""
        return tuple(vote for _, vote in sorted(self._first.get((round_, kind), {}).items()))

    def votes_for(self, round_: int, kind: VoteType, block_id: bytes | None) -> tuple[SignedVote, ...]:
        """One vote for `block_id` per validator, ascending by validator."""
        found = {v.vote.validator: v for v in self.votes(round_, kind) if v.vote.block_id == block_id}
        for (validator, voted_for), signed in self._beside.get((round_, kind), {}).items():
            if voted_for == block_id:
                found.setdefault(validator, signed)
        return tuple(vote for _, vote in sorted(found.items()))

    def weight_any(self, round_: int, kind: VoteType) -> int:
        return self._any.get((round_, kind), 0)

    def weight_for(self, round_: int, kind: VoteType, block_id: bytes | None, valid_round: int | None = None) -> int:
        """Weight that voted for `block_id` (None = nil); with valid_round, only by votes that carry it."""
        tally = self._weights.get((round_, kind), {})
        return sum(
            weight for (voted_for, vr), weight in tally.items()
            if voted_for == block_id and (valid_round is None or vr == valid_round)
        )

    def quorums(self, kind: VoteType) -> list[tuple[int, bytes]]:
        """(round, block) of every quorum for a block, newest round first. So no rule has to look through all rounds."""
        found = [
            (round_, block_id)
            for (round_, kind_), blocks in self._quorums.items() if kind_ is kind
            for block_id in blocks
        ]
        return sorted(found, key=lambda place: place[0], reverse=True)

    def rounds_above(self, round_: int) -> list[int]:
        """Later rounds that somebody voted in, latest first."""
        return sorted((r for r in self._in_round if r > round_), reverse=True)

    def weight_in_round(self, round_: int) -> int:
        """Weight of all that prevoted or precommitted in a round, each counted once."""
        return sum(self._validators.weight(key) for key in self._in_round.get(round_, {}))

    def size(self) -> int:
        """Votes kept: what bounds memory."""
        return sum(map(len, self._first.values())) + sum(map(len, self._beside.values())) + 2 * len(self.double)


def is_amnesia(precommit: Vote, prevote: Vote) -> bool:
    """Whether two votes of one validator show that it forgot its lock: a precommit for one block, then a prevote
    for another whose valid round is before that lock. Rule P forbids it, so no honest validator signs both."""
    return (
        precommit.type is VoteType.PRECOMMIT and prevote.type is VoteType.PREVOTE
        and precommit.block_id is not None and prevote.block_id is not None and precommit.block_id != prevote.block_id
        and prevote.valid_round < precommit.round < prevote.round
    )


def conflicts(votes: Sequence[SignedVote]) -> list[Pair]:
    """Every pair that proves a fault among votes of one height, in any order: what an auditor finds afterwards."""
    found: list[Pair] = []
    by_validator: dict[bytes, list[SignedVote]] = {}
    for signed in votes:
        by_validator.setdefault(signed.vote.validator, []).append(signed)
    for own in by_validator.values():
        for at, one in enumerate(own):
            for two in own[at + 1 :]:
                a, b = one.vote, two.vote
                if ((a.round, a.type) == (b.round, b.type) and a != b) or is_amnesia(a, b):
                    found.append((one, two))
                elif is_amnesia(b, a):
                    found.append((two, one))
    return found
