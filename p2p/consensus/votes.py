"""The vote keeper of one height. Law: the first vote per (validator, round, type) counts; a conflicting one is evidence, never a vote.

The one exception is a certificate: it is taken whole, so the vote an equivocator gave to others counts for what they saw it for.
Rounds ahead are bounded per validator, so memory is bounded whatever arrives.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.limits import MAX_FUTURE_ROUNDS
from p2p.consensus.messages import SignedVote, Vote, VoteType
from p2p.consensus.validators import ValidatorSet

Slot = tuple[int, VoteType]
Pair = tuple[SignedVote, SignedVote]


class VoteKeeper:
    """Signatures were verified before. max_future: rounds ahead of ours kept per validator."""

    def __init__(self, validators: ValidatorSet, max_future: int = MAX_FUTURE_ROUNDS) -> None:
        self._validators = validators
        self._max_future = max_future
        self._first: dict[Slot, dict[bytes, SignedVote]] = {}
        self._also: dict[Slot, dict[tuple[bytes, bytes | None], SignedVote]] = {}  # from certificates, beside the first
        self._weights: dict[Slot, dict[tuple[bytes | None, int], int]] = {}
        self._any: dict[Slot, int] = {}
        self._in_round: dict[int, dict[bytes, None]] = {}
        self._quorums: dict[Slot, dict[bytes, None]] = {}  # blocks that a quorum voted for
        self.double: dict[tuple[bytes, int, VoteType], Pair] = {}  # two votes in one slot
        self.amnesia: dict[bytes, Pair] = {}  # (precommit, later prevote that forgot it)

    def is_news(self, signed: SignedVote, round_now: int, *, whole: bool = False, justified: bool = False) -> bool:
        """Whether `add` would keep anything of it. Cheap: it is asked before a signature is looked at."""
        vote = signed.vote
        if vote.validator not in self._validators:
            return False
        slot = (vote.round, vote.type)
        known = self._first.get(slot, {}).get(vote.validator)
        if known is None:
            near = vote.round <= round_now + 1 or whole or justified
            return near or self._rounds_ahead(vote, round_now) < self._max_future
        if known.vote == vote:
            return False
        if (vote.validator, *slot) not in self.double:
            return True
        other = known.vote.block_id != vote.block_id
        return whole and other and (vote.validator, vote.block_id) not in self._also.get(slot, {})

    def knows(self, signed: SignedVote) -> bool:
        """These very bytes were verified before: nothing of them needs a second look. Another signature under the same vote does."""
        vote = signed.vote
        return self.first(vote.validator, vote.round, vote.type) == signed

    def add(self, signed: SignedVote, round_now: int, *, whole: bool = False, justified: bool = False) -> bool:
        """True when it counts newly. whole: part of a quorum certificate, so it counts even beside another vote of its sender.
        justified: of a round that more than a third voted in, so the bound of rounds ahead is not for it."""
        vote = signed.vote
        if vote.validator not in self._validators:
            return False
        slot = (vote.round, vote.type)
        known = self._first.get(slot, {}).get(vote.validator)
        if known is not None:
            if known.vote != vote:
                self.double.setdefault((vote.validator, *slot), (known, signed))
            if known.vote.block_id == vote.block_id or not whole:
                return False
            again = (vote.validator, vote.block_id)
            if again in self._also.get(slot, {}):
                return False
            self._also.setdefault(slot, {})[again] = signed
            self._weigh(slot, vote)
            return True
        near = vote.round <= round_now + 1 or whole or justified
        if not near and self._rounds_ahead(vote, round_now) >= self._max_future:
            return False
        self._first.setdefault(slot, {})[vote.validator] = signed
        self._in_round.setdefault(vote.round, {})[vote.validator] = None
        self._weigh(slot, vote)
        self._any[slot] = self._any.get(slot, 0) + self._validators.weight(vote.validator)
        self._look_for_amnesia(signed)
        return True

    def _weigh(self, slot: Slot, vote: Vote) -> None:
        tally = self._weights.setdefault(slot, {})
        place = (vote.block_id, vote.valid_round)
        tally[place] = tally.get(place, 0) + self._validators.weight(vote.validator)
        if vote.block_id is not None and self._validators.is_quorum(self.weight_for(*slot, vote.block_id)):
            self._quorums.setdefault(slot, {})[vote.block_id] = None

    def _rounds_ahead(self, vote: Vote, round_now: int) -> int:
        return sum(1 for r, who in self._in_round.items() if r > round_now and r != vote.round and vote.validator in who)

    def _look_for_amnesia(self, signed: SignedVote) -> None:
        """A precommit for one block, then a prevote for another that names no polka since: no honest validator signs both."""
        who = signed.vote.validator
        if signed.vote.block_id is None or who in self.amnesia:
            return
        for (_, kind), votes in sorted(self._first.items()):
            other = votes.get(who)
            if other is None or kind is signed.vote.type:
                continue
            pair = (other, signed) if kind is VoteType.PRECOMMIT else (signed, other)
            if forgot(pair[0].vote, pair[1].vote):
                self.amnesia[who] = pair
                return

    def has(self, validator: bytes, round_: int, kind: VoteType) -> bool:
        return validator in self._first.get((round_, kind), {})

    def first(self, validator: bytes, round_: int, kind: VoteType) -> SignedVote | None:
        return self._first.get((round_, kind), {}).get(validator)

    def votes(self, round_: int, kind: VoteType) -> tuple[SignedVote, ...]:
        return tuple(vote for _, vote in sorted(self._first.get((round_, kind), {}).items()))

    def votes_for(self, round_: int, kind: VoteType, block_id: bytes | None) -> tuple[SignedVote, ...]:
        """One vote for `block_id` per validator, ascending by validator."""
        found = {v.vote.validator: v for v in self.votes(round_, kind) if v.vote.block_id == block_id}
        for (who, what), signed in self._also.get((round_, kind), {}).items():
            if what == block_id:
                found.setdefault(who, signed)
        return tuple(vote for _, vote in sorted(found.items()))

    def weight_any(self, round_: int, kind: VoteType) -> int:
        return self._any.get((round_, kind), 0)

    def weight_for(self, round_: int, kind: VoteType, block_id: bytes | None, valid_round: int | None = None) -> int:
        """Weight that voted for `block_id` (None = nil); with valid_round, only votes that carry it."""
        tally = self._weights.get((round_, kind), {})
        return sum(w for (what, vr), w in tally.items() if what == block_id and (valid_round is None or vr == valid_round))

    def quorums(self, kind: VoteType) -> list[tuple[int, bytes]]:
        """(round, block) of every quorum for a block, the newest round first: so nobody looks through all rounds for one."""
        found = [(round_, block_id) for (round_, kind_), blocks in self._quorums.items() if kind_ is kind for block_id in blocks]
        return sorted(found, key=lambda place: place[0], reverse=True)

    def rounds_above(self, round_: int) -> list[int]:
        return sorted((r for r in self._in_round if r > round_), reverse=True)

    def weight_in_round(self, round_: int) -> int:
        """Prevote and precommit senders counted together, each once."""
        return sum(self._validators.weight(key) for key in self._in_round.get(round_, {}))

    def size(self) -> int:
        """Votes kept: what bounds memory."""
        return sum(map(len, self._first.values())) + sum(map(len, self._also.values())) + 2 * len(self.double)


def forgot(precommit: Vote, prevote: Vote) -> bool:
    """Amnesia: locked on one block at a round, then prevoted another with a valid round before that lock (rule P forbids it)."""
    return (
        precommit.type is VoteType.PRECOMMIT and prevote.type is VoteType.PREVOTE
        and precommit.block_id is not None and prevote.block_id is not None and precommit.block_id != prevote.block_id
        and prevote.valid_round < precommit.round < prevote.round
    )


def conflicts(votes: Sequence[SignedVote]) -> list[Pair]:
    """Every provable fault in a heap of votes of one height (any order): what an auditor finds afterwards."""
    found: list[Pair] = []
    by_validator: dict[bytes, list[SignedVote]] = {}
    for signed in votes:
        by_validator.setdefault(signed.vote.validator, []).append(signed)
    for own in by_validator.values():
        for at, one in enumerate(own):
            for two in own[at + 1 :]:
                a, b = one.vote, two.vote
                if ((a.round, a.type) == (b.round, b.type) and a != b) or forgot(a, b):
                    found.append((one, two))
                elif forgot(b, a):
                    found.append((two, one))
    return found
