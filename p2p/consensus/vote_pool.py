"""What one peer has to hand on of one height. Law: one vote per validator, round and type; bounded whatever arrives.

Beside each message stands who is known to have it. A second, different vote is not handed on: it is evidence, and
travels as such.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from p2p.base.limits import MAX_POOL_OTHERS, MAX_POOL_ROUNDS
from p2p.consensus import wire
from p2p.consensus.evidence import accused
from p2p.consensus.messages import SignedVote, VoteType
from p2p.consensus.validators import ValidatorSet

Slot = tuple[int, VoteType]
NOBODY = 1 << 16  # as a rank: below everybody's


@dataclass(slots=True, eq=False)
class Item:
    """A message on its way. Times in ms; masks have a bit for each neighbour."""

    raw: bytes
    message: wire.Wire
    height: int
    came_ms: int
    own: bool = False  # this peer made it
    straight: bool = False  # it came from its author
    theirs: int = 0  # neighbours that gave it to us
    sent: int = 0  # neighbours that we gave it to
    via: int = NOBODY  # the lowest rank of a relay that gave it to us
    heard_ms: int = -1  # when somebody else last said it

    @property
    def author(self) -> bytes:
        """Of a vote; b"" for what has no author of its own."""
        return self.message.vote.validator if isinstance(self.message, SignedVote) else b""

    @property
    def slot(self) -> Slot | None:
        return (self.message.vote.round, self.message.vote.type) if isinstance(self.message, SignedVote) else None

    @property
    def block_id(self) -> bytes | None:
        """What a vote is for; None: nil, or no vote."""
        return self.message.vote.block_id if isinstance(self.message, SignedVote) else None

    def is_known(self, bit: int) -> bool:
        return bool((self.theirs | self.sent) & bit)


class VotePool:
    """The messages of one height. members: the set that decides it."""

    def __init__(self, height: int, members: ValidatorSet) -> None:
        self.height, self.members = height, members
        self.place = {key: at for at, (key, _) in enumerate(members.members)}
        self.settled: dict[Slot, bytes | None] = {}  # what more than two thirds voted for
        self._slots: dict[Slot, dict[bytes, Item]] = {}
        self._raws: dict[bytes, Item] = {}
        self._others: dict[Hashable, Item] = {}  # certificates and notes of evidence, by content
        self._weights: dict[tuple[Slot, bytes | None], int] = {}

    def __len__(self) -> int:
        return len(self._raws)

    def items(self) -> Iterator[Item]:
        return iter(list(self._raws.values()))

    def find(self, raw: bytes) -> Item | None:
        """By its very bytes."""
        return self._raws.get(raw)

    def like(self, message: wire.Wire) -> Item | None:
        """A message that says the same, and for a vote stands in the same slot."""
        if isinstance(message, SignedVote):
            return self.vote(message.vote.validator, message.vote.round, message.vote.type)
        return self._others.get(_content(message))

    def vote(self, validator: bytes, round_: int, kind: VoteType) -> Item | None:
        return self._slots.get((round_, kind), {}).get(validator)

    def votes(self, round_: int, kind: VoteType) -> list[Item]:
        return list(self._slots.get((round_, kind), {}).values())

    def has_voted(self, validator: bytes, round_: int, block_id: bytes) -> bool:
        """Whether a validator's vote of a round is for a block: it has that block whole."""
        votes = (self.vote(validator, round_, kind) for kind in VoteType)
        return any(item is not None and item.block_id == block_id for item in votes)

    def rounds(self) -> list[int]:
        return sorted({round_ for round_, _ in self._slots})

    def others(self) -> list[Item]:
        return list(self._others.values())

    def add(self, item: Item) -> bool:
        """False where its place is taken, or it is too old to be kept."""
        if self.like(item.message) is not None:
            return False
        slot = item.slot
        if slot is None:
            while len(self._others) >= MAX_POOL_OTHERS:
                self._forget(next(iter(self._others.values())))
            self._others[_content(item.message)] = item
        elif not self._make_room(slot[0]):
            return False
        else:
            self._slots.setdefault(slot, {})[item.author] = item
            self._weigh(slot, item)
        self._raws[item.raw] = item
        return True

    def remove(self, item: Item) -> None:
        """Forget a message, as if it had never come; what it weighed stays."""
        self._forget(item)

    def _make_room(self, round_: int) -> bool:
        """Keep the highest MAX_POOL_ROUNDS rounds."""
        rounds = self.rounds()
        if round_ in rounds or len(rounds) < MAX_POOL_ROUNDS:
            return True
        if round_ < rounds[0]:
            return False
        for kind in VoteType:
            for item in self.votes(rounds[0], kind):
                self._forget(item)
            self._slots.pop((rounds[0], kind), None)
        return True

    def _forget(self, item: Item) -> None:
        self._raws.pop(item.raw, None)
        if item.slot is None:
            self._others.pop(_content(item.message), None)
        else:
            self._slots.get(item.slot, {}).pop(item.author, None)

    def _weigh(self, slot: Slot, item: Item) -> None:
        assert isinstance(item.message, SignedVote)
        block_id = item.message.vote.block_id
        weight = self._weights.get((slot, block_id), 0) + self.members.weight(item.author)
        self._weights[slot, block_id] = weight
        if self.members.is_quorum(weight):
            self.settled.setdefault(slot, block_id)

    def decided(self) -> list[Item]:
        """The precommits that decided this height; none where it was decided in another way."""
        for (round_, kind), block_id in self.settled.items():
            if kind is VoteType.PRECOMMIT and block_id is not None:
                return [item for item in self.votes(round_, kind) if item.block_id == block_id]
        return []


def _content(message: wire.Wire) -> Hashable:
    """What a message says. Notes of evidence against one validator at one height are one."""
    if isinstance(message, wire.EvidenceNote):
        return 5, accused(message.evidence)
    return wire.content(message)
