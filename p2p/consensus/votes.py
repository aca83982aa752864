"""The vote keeper. Law: the first vote per (validator, round, type) counts; a conflicting one is evidence, never a vote.

At most MAX_FUTURE_ROUNDS rounds ahead are kept per validator, so memory is bounded whatever arrives.
"""

from __future__ import annotations

from p2p.consensus.messages import SignedVote, VoteType
from p2p.consensus.validators import ValidatorSet
from p2p.limits import MAX_FUTURE_ROUNDS

Slot = tuple[int, VoteType]


class VoteKeeper:
    """Votes of one height; signatures were verified before."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._validators = validators
        self._slots: dict[Slot, dict[bytes, SignedVote]] = {}
        self.conflicts: dict[tuple[bytes, int, VoteType], tuple[SignedVote, SignedVote]] = {}

    def add(self, signed: SignedVote, round_now: int) -> bool:
        """True when it is new and counts."""
        vote = signed.vote
        if vote.validator not in self._validators:
            return False
        slot = self._slots.get((vote.round, vote.type), {})
        known = slot.get(vote.validator)
        if known is not None:
            if known.vote != vote:
                self.conflicts.setdefault((vote.validator, vote.round, vote.type), (known, signed))
            return False
        if vote.round > round_now + 1 and self._rounds_ahead(vote.validator, round_now, vote.round) >= MAX_FUTURE_ROUNDS:
            return False
        self._slots.setdefault((vote.round, vote.type), {})[vote.validator] = signed
        return True

    def _rounds_ahead(self, validator: bytes, round_now: int, new: int) -> int:
        return len({r for (r, _), slot in self._slots.items() if r > round_now and r != new and validator in slot})

    def has(self, validator: bytes, round_: int, kind: VoteType) -> bool:
        return validator in self._slots.get((round_, kind), {})

    def votes(self, round_: int, kind: VoteType) -> tuple[SignedVote, ...]:
        return tuple(vote for _, vote in sorted(self._slots.get((round_, kind), {}).items()))

    def weight_any(self, round_: int, kind: VoteType) -> int:
        return sum(self._validators.weight(key) for key in self._slots.get((round_, kind), {}))

    def weight_for(self, round_: int, kind: VoteType, block_id: bytes | None, valid_round: int | None = None) -> int:
        """Weight that voted for `block_id` (None = nil); with valid_round, only votes that carry it."""
        return sum(
            self._validators.weight(key)
            for key, signed in self._slots.get((round_, kind), {}).items()
            if signed.vote.block_id == block_id and (valid_round is None or signed.vote.valid_round == valid_round)
        )

    def rounds_above(self, round_: int) -> list[int]:
        return sorted({r for r, _ in self._slots if r > round_}, reverse=True)

    def weight_in_round(self, round_: int) -> int:
        """Prevote and precommit senders counted together, each once."""
        senders = {key for kind in VoteType for key in self._slots.get((round_, kind), {})}
        return sum(self._validators.weight(key) for key in senders)
