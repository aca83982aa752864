"""Progress of long work, with the time that is left.

Law: one mechanism for all commands. On a terminal one line that is written again; elsewhere plain lines, few enough to
be read in a log. It says what is left only where that can be known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from p2p.cli.terminal.styled import Look, Span, look_of, render
from p2p.machine.foreign_text import Guarded

_AGAIN_S = 0.1  # between two drawings on a terminal
_LINE_S = 15.0  # between two lines elsewhere
_BAR = 24  # columns
_WEIGHT = 0.3  # of a new rate
_LEAST_S = 0.5  # of work, before a rate is believed


class Pace:
    """How fast work goes, smoothed, so that a pause or a leap does not move the time left too far. Pure."""

    def __init__(self, now: float, done: float = 0.0) -> None:
        self._begun = self._at = now
        self._first = self._done = done
        self._rate: float | None = None  # work a second

    def feed(self, now: float, done: float) -> None:
        """So much is done now."""
        spent = now - self._at
        if spent < _LEAST_S or done < self._done:
            return
        rate = (done - self._done) / spent
        self._rate = rate if self._rate is None else self._rate + _WEIGHT * (rate - self._rate)
        self._at, self._done = now, done

    def left_s(self, now: float, total: float) -> float | None:
        """Seconds to the end; None: not known. Between the pace of late and that of the whole."""
        spent, done = self._at - self._begun, self._done - self._first
        if self._rate is None or done <= 0 or spent <= 0:
            return None
        rate = (self._rate + done / spent) / 2
        return max(0.0, (total - self._done) / rate - (now - self._at)) if rate > 0 else None


def duration(seconds: float) -> str:
    """For people: 12 s, 3 min 05 s, 2 h 10 min."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class Progress:
    """One piece of work. total: how much there is; None: not known. `line` writes a plain line above it."""

    def __init__(
        self, what: str, total: float | None = None, unit: str = "", *, stream: Any = None,
        clock: Callable[[], float] = time.monotonic, look: Look | None = None, quiet: bool = False,
    ) -> None:
        self._what, self.total, self._unit = what, total, unit
        self._stream = sys.stderr if stream is None else stream
        self._look = look or look_of(self._stream)
        self._clock, self._quiet = clock, quiet
        self._pace = Pace(clock())
        self._shown_at, self._is_drawn = float("-inf"), False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def at(self, done: float, note: str = "", total: float | None = None) -> None:
        """So much is done now."""
        now = self._clock()
        self.total = total if total is not None else self.total
        self._pace.feed(now, done)
        is_end = self.total is not None and done >= self.total
        wait = _AGAIN_S if self._look.terminal else _LINE_S
        if self._quiet or (now - self._shown_at < wait and not is_end):
            return
        self._shown_at = now
        self._draw(self._text(now, done, note))

    def line(self, text: str) -> None:
        """A line of its own, which stays."""
        if self._quiet:
            return
        self.clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self._is_drawn:
            self._raw("\r\x1b[K")
            self._is_drawn = False

    def _text(self, now: float, done: float, note: str) -> str:
        parts = [self._what]
        if self.total:
            share = min(1.0, max(0.0, done / self.total))
            full = int(share * _BAR)
            parts += ["#" * full + "-" * (_BAR - full)] if self._look.terminal else []
            parts.append(f"{100 * share:.0f} %")
        left = self._pace.left_s(now, self.total) if self.total else None
        if left is not None and done < (self.total or 0):
            parts.append(f"{duration(left)} left")
        parts.append(f"{done:,.0f}" + (f" of {self.total:,.0f}" if self.total else "") + f" {self._unit}".rstrip())
        return "  ".join([*parts, *([note] if note else [])])

    def _draw(self, text: str) -> None:
        if not self._look.terminal:
            self._stream.write(f"{text}\n")
            self._stream.flush()
            return
        shown = render((Span(text),), self._look._replace(columns=self._look.columns - 1))
        self._raw(f"\r{shown}\x1b[K")
        self._is_drawn = True

    def _raw(self, text: str) -> None:
        (self._stream.uncleaned if isinstance(self._stream, Guarded) else self._stream.write)(text)
        self._stream.flush()
