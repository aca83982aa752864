"""What an exchange does later, and when. Law: in the order of the times; steps of one time keep the order in
which they were put.

Times in ms of the exchange's clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from enum import IntEnum

from p2p.consensus.vote_pool import Item, Slot


class Step(IntEnum):
    """What happens to a message when its time has come."""

    OFFER = 1  # the next rank gets a vote of ours that has not settled
    FORWARD = 2  # everybody gets what we relay
    SHOW = 3  # a certificate of ours goes out, unless somebody else's did
    SHOW_AGAIN = 4  # the same, to everybody, because the first time was not enough


class VoteAgenda:
    """The steps to come, each about one message. extra: of a step, a rank or a time."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, Step, Item, int]] = []  # (due, number, what, of which, extra)
        self._count = 0
        self._held: dict[tuple[int, Slot], int] = {}  # until when votes are held, by height and slot

    def hold(self, about: tuple[int, Slot], now: int, most_ms: int) -> int:
        """Until when a vote of a slot is held: what comes within `most_ms` of the first one leaves with it."""
        if self._held.get(about, now) <= now:
            self._held = {other: until for other, until in self._held.items() if until > now}
            self._held[about] = now + most_ms
        return self._held[about]

    def put(self, due_ms: int, step: Step, item: Item, extra: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._steps, (due_ms, self._count, step, item, extra))

    def take(self, now: int) -> Iterator[tuple[Step, Item, int]]:
        """What is due now; more may be put meanwhile."""
        while self._steps and self._steps[0][0] <= now:
            _, _, step, item, extra = heapq.heappop(self._steps)
            yield step, item, extra

    def due_ms(self) -> int | None:
        return self._steps[0][0] if self._steps else None

    def forward_by(self, slot: Slot, height: int, when_ms: Callable[[int], int]) -> None:
        """The votes of a slot are forwarded no later than at `when_ms(rank)`."""
        self._steps = [
            (min(due, when_ms(extra)), number, step, item, extra)
            if step is Step.FORWARD and item.slot == slot and item.height == height
            else (due, number, step, item, extra)
            for due, number, step, item, extra in self._steps
        ]
        heapq.heapify(self._steps)
