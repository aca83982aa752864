"""How fast each executor was, as this gateway measured it on its own answers. Law: medians of the last answers; a
bounded number of executors, those that answered last."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from statistics import median

from msgspec import Struct

from p2p.base.serving_limits import HOSTS_TIMED, SHOW_EVERY_S

_LEAST_S = 2 * SHOW_EVERY_S  # of an answer that gives a rate: tokens of one frame come at once
_LAST = 32  # answers of one executor that count


class Timed(Struct, frozen=True):
    """One executor."""

    answers: int  # that were measured
    first_token_ms: int  # from the moment when it was asked
    tokens_a_second: float  # after the first; 0: not known


@dataclass(slots=True)
class _Times:
    answers: int = 0
    first_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LAST))
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=_LAST))


class HostTimes:
    """Of one gateway."""

    def __init__(self, most: int = HOSTS_TIMED) -> None:
        self._most = most
        self._times: OrderedDict[str, _Times] = OrderedDict()

    def add(self, executor: str, first_s: float, rest_s: float, tokens: int) -> None:
        """One answer. rest_s: from its first token to its last one of `tokens`."""
        found = self._times.pop(executor, None) or _Times()
        found.answers += 1
        found.first_s.append(first_s)
        if tokens > 1 and rest_s >= _LEAST_S:
            found.rates.append((tokens - 1) / rest_s)
        self._times[executor] = found
        while len(self._times) > self._most:
            self._times.popitem(last=False)

    def rows(self) -> dict[str, Timed]:
        """By executor."""
        return {
            executor: Timed(
                found.answers, round(1000 * median(found.first_s)),
                round(median(found.rates), 1) if found.rates else 0.0,
            )
            for executor, found in self._times.items()
        }


class Watch:
    """Times one answer. now: the clock's time in seconds at each call."""

    def __init__(self, times: HostTimes) -> None:
        self._times = times
        self._executor = ""
        self._asked = self._first = self._last = 0.0
        self._tokens = 0

    def asked(self, executor: str, now: float) -> None:
        """From here on this executor is asked."""
        self._executor, self._asked, self._tokens = executor, now, 0

    def token(self, now: float) -> None:
        if not self._tokens:
            self._first = now
        self._tokens, self._last = self._tokens + 1, now

    def done(self) -> None:
        """The answer is complete."""
        if self._tokens:
            self._times.add(self._executor, self._first - self._asked, self._last - self._first, self._tokens)
