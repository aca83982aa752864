"""A finder of stop strings, as simple as possible: what p2p/text/stop.py is held against here."""

from __future__ import annotations

from collections.abc import Sequence


class SimpleFinder:
    """Holds back everything that could still begin a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._text, self._given = tuple(stops), "", 0
        self.found: str | None = None

    def feed(self, text: str) -> str:
        self._text += text
        first = min((at for at in (self._text.find(stop) for stop in self._stops) if at >= 0), default=None)
        if first is not None:
            self.found = next(stop for stop in self._stops if self._text.startswith(stop, first))
            return self._give(first)
        return self._give(next(
            at for at in range(self._given, len(self._text) + 1)
            if not self._text[at:] or any(stop.startswith(self._text[at:]) for stop in self._stops)
        ))

    def finish(self) -> str:
        return "" if self.found else self._give(len(self._text))

    def _give(self, upto: int) -> str:
        new, self._given = self._text[self._given : upto], max(upto, self._given)
        return new
