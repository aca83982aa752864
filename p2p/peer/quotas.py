"""What one key may use of this peer: jobs at once, and tokens within a window of heights.

Law: never more than the limit in any window of successive heights, as long as the key is remembered. Tokens that were
reserved and not used return when the job ends. If there are too many keys, the one that used least is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from p2p.base.errors import Overloaded
from p2p.base.serving_limits import MAX_METERED


@dataclass(frozen=True, slots=True)
class Limit:
    """What each key may use."""

    jobs: int  # at once
    tokens: int  # of prompts and answers of jobs that began within any `window` successive heights
    window: int  # heights


UNLIMITED = Limit(2**31, 2**62, 1)


@dataclass(slots=True)
class Usage:
    """One job's share of a quota."""

    key: bytes
    height: int  # at which the job began
    tokens: int  # reserved: they count until the job ends
    used: int = 0  # set by the job: these count until the window has passed


@dataclass(slots=True)
class _Meter:
    """What one key uses."""

    jobs: int = 0
    used: dict[int, int] = field(default_factory=dict)  # height -> tokens of jobs that began there, oldest first

    def forget(self, height: int) -> None:
        """Drop what began at `height` or before."""
        for old in [at for at in self.used if at <= height]:
            del self.used[old]


class Quotas:
    """One limit for each of many keys. Heights rise; a lower one counts as the highest seen."""

    def __init__(self, who: str, limit: Limit, keys: int = MAX_METERED) -> None:
        self.who = who  # what a key is, for errors: 'account' or 'agent'
        self.limit = limit
        self.keys = keys  # remembered at most
        self._height = 0
        self._meters: dict[bytes, _Meter] = {}

    def __len__(self) -> int:
        return len(self._meters)

    @contextmanager
    def hold(self, key: bytes, tokens: int, height: int) -> Iterator[Usage]:
        """A job of at most `tokens` runs in the block; it sets `used`. Raises Overloaded as `take`."""
        usage = self.take(key, tokens, height)
        try:
            yield usage
        finally:
            self.give_back(usage)

    def take(self, key: bytes, tokens: int, height: int) -> Usage:
        """A job of at most `tokens` begins. Raises Overloaded that names the field and, in retry_after, the heights to
        wait."""
        self._height = height = max(height, self._height)
        meter = self._meters.get(key) or self._room()
        meter.forget(height - self.limit.window)
        if meter.jobs >= self.limit.jobs:
            busy = f"this {self.who} has {meter.jobs} requests running here; wait until one ends"
            raise Overloaded(busy, field=self.who, retry_after=1)
        if tokens > self.limit.tokens:
            allowed = f"{self.limit.tokens} tokens in {self.limit.window} heights"
            raise Overloaded(f"{tokens} tokens exceed the limit of {allowed}; ask for fewer", field="max_tokens")
        self._check(meter, tokens, height)
        self._meters[key] = meter
        meter.jobs += 1
        meter.used[height] = meter.used.get(height, 0) + tokens
        return Usage(key, height, tokens)

    def is_modest(self, key: bytes) -> bool:
        """Whether `key` used at most half of an equal share of what all keys used within the window."""
        mine = sum(self._meters[key].used.values()) if key in self._meters else 0
        others = [sum(meter.used.values()) for meter in self._meters.values()]
        return 2 * mine * len(others) <= sum(others)

    def give_back(self, usage: Usage) -> None:
        """The job ended: what it did not use returns. Once for each `take`."""
        meter = self._meters[usage.key]
        meter.jobs -= 1
        if usage.height in meter.used:
            meter.used[usage.height] -= max(usage.tokens - usage.used, 0)

    def _check(self, meter: _Meter, tokens: int, height: int) -> None:
        """Raises Overloaded with the heights until enough of the key's tokens have left the window."""
        over = sum(meter.used.values()) + tokens - self.limit.tokens
        for at, used in meter.used.items():
            if over <= 0:
                return
            over -= used
            wait = at + self.limit.window - height
            if over <= 0:
                raise Overloaded(
                    f"this {self.who} may use {self.limit.tokens} tokens in {self.limit.window} heights; "
                    f"try again in {wait}", field="max_tokens", retry_after=wait,
                )

    def _room(self) -> _Meter:
        """A new meter. If there are too many, meters without tokens in the window make room, else the one with the
        fewest tokens and no running job. Its key regains at most those few, and a thousand tiny answers do not close
        the peer to others. Raises Overloaded if all keys have jobs running."""
        if len(self._meters) >= self.keys:
            for key, meter in list(self._meters.items()):
                meter.forget(self._height - self.limit.window)
                if not meter.jobs and not any(meter.used.values()):
                    del self._meters[key]
        if len(self._meters) >= self.keys:
            idle = [(sum(meter.used.values()), key) for key, meter in self._meters.items() if not meter.jobs]
            if not idle:
                raise Overloaded(
                    f"this peer serves {self.keys} {self.who}s now; ask another peer", field=self.who,
                    retry_after=self.limit.window
                )
            del self._meters[min(idle)[1]]
        return _Meter()
