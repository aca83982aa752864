"""What one key may have of this peer: jobs at once, and tokens within a window of heights. Law: never more than the limit in any window of
successive heights, as far as it is remembered; what was taken and not used returns at once; of too many keys whoever had least is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from p2p.base.errors import Overloaded
from p2p.base.limits import MAX_METERED


@dataclass(frozen=True, slots=True)
class Limit:
    """jobs: at once. tokens: of prompts and answers that began within any `window` successive heights."""

    jobs: int
    tokens: int
    window: int


UNLIMITED = Limit(2**31, 2**62, 1)


@dataclass(slots=True)
class Taken:
    """One job's share: `tokens` count at `height` until it ends; `used` of them for as long as the window lasts."""

    key: bytes
    height: int
    tokens: int
    used: int = 0


@dataclass(slots=True)
class _Meter:
    """used: height -> tokens that began there, oldest first."""

    jobs: int = 0
    used: dict[int, int] = field(default_factory=dict)

    def forget(self, height: int) -> None:
        """What began at `height` or before counts no more."""
        for old in [at for at in self.used if at <= height]:
            del self.used[old]


class Bandwidth:
    """who: what a key is, for errors ('account', 'agent'). Heights go up; a lower one counts as the highest seen."""

    def __init__(self, who: str, limit: Limit, keys: int = MAX_METERED) -> None:
        self.who, self.limit, self.keys = who, limit, keys
        self._height = 0
        self._meters: dict[bytes, _Meter] = {}

    def __len__(self) -> int:
        return len(self._meters)

    @contextmanager
    def hold(self, key: bytes, tokens: int, height: int) -> Iterator[Taken]:
        """A job of at most `tokens` runs inside; it says in `used` what it took. Raises Overloaded as `take`."""
        taken = self.take(key, tokens, height)
        try:
            yield taken
        finally:
            self.give_back(taken)

    def take(self, key: bytes, tokens: int, height: int) -> Taken:
        """A job of at most `tokens` begins. Raises Overloaded that names the field and, in retry_after, the heights to wait."""
        self._height = height = max(height, self._height)
        meter = self._meters.get(key) or self._room()
        meter.forget(height - self.limit.window)
        if meter.jobs >= self.limit.jobs:
            raise Overloaded(f"this {self.who} has {meter.jobs} requests running here; wait for one", field=self.who, retry_after=1)
        if tokens > self.limit.tokens:
            raise Overloaded(f"at most {self.limit.tokens} tokens in {self.limit.window} heights; ask for less", field="max_tokens")
        self._check(meter, tokens, height)
        self._meters[key] = meter
        meter.jobs += 1
        meter.used[height] = meter.used.get(height, 0) + tokens
        return Taken(key, height, tokens)

    def is_modest(self, key: bytes) -> bool:
        """Whether `key` had less than half of an equal share of what all had within the window."""
        mine = sum(self._meters[key].used.values()) if key in self._meters else 0
        others = [sum(meter.used.values()) for meter in self._meters.values()]
        return 2 * mine * len(others) <= sum(others)

    def give_back(self, taken: Taken) -> None:
        """The job ended: what it has not used returns. Once for each `take`."""
        meter = self._meters[taken.key]
        meter.jobs -= 1
        if taken.height in meter.used:
            meter.used[taken.height] -= max(taken.tokens - taken.used, 0)

    def _check(self, meter: _Meter, tokens: int, height: int) -> None:
        over = sum(meter.used.values()) + tokens - self.limit.tokens
        for at, used in meter.used.items():
            if over <= 0:
                return
            over -= used
            wait = at + self.limit.window - height
            if over <= 0:
                raise Overloaded(
                    f"this {self.who} may have {self.limit.tokens} tokens in {self.limit.window} heights; try again in {wait}",
                    field="max_tokens", retry_after=wait,
                )

    def _room(self) -> _Meter:
        """A new meter. Where there are too many, those that say nothing any more make room; else the one that says least and runs nothing: it gives
        back at most that, and a thousand tiny answers close the peer to nobody."""
        if len(self._meters) >= self.keys:
            for key, meter in list(self._meters.items()):
                meter.forget(self._height - self.limit.window)
                if not meter.jobs and not any(meter.used.values()):
                    del self._meters[key]
        if len(self._meters) >= self.keys:
            idle = [(sum(meter.used.values()), key) for key, meter in self._meters.items() if not meter.jobs]
            if not idle:
                raise Overloaded(f"this peer serves {self.keys} of {self.who}s now; ask another", field=self.who, retry_after=self.limit.window)
            del self._meters[min(idle)[1]]
        return _Meter()
