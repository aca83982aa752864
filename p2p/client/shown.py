"""What a client shows of an answer: its text up to the first stop string.

Law: no character of a stop string is ever shown, also where it came in parts; every token is given out once, in order.
Text that may begin a stop string waits, and with it the last token that has come, until more is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from p2p.client.events import Token
from p2p.verification.artifact import Position


class Finder(Protocol):
    """Looks for stop strings in a text that comes piece by piece (text/stop.py)."""

    @property
    def found(self) -> str | None: ...

    def feed(self, text: str) -> str:
        """The text that is certainly before any stop string."""
        ...

    def finish(self) -> str:
        """What was held back, where the text has ended without one."""
        ...


class Shown:
    """One answer, whichever requests it took."""

    def __init__(self, stops: Sequence[str] = (), finder: Finder | None = None) -> None:
        """finder: instead of the one for `stops`."""
        self._finder = finder
        if finder is None and stops:
            from p2p.text.stop import StopFinder  # most answers have none

            self._finder = StopFinder(stops)
        self.tokens: list[int] = []  # all that came, shown or waiting
        self.last = (0, "")  # of the last frame: its first token's position, and its text
        self._pieces: list[str] = []
        self._held = 0  # characters that wait
        self._waiting: Token | None = None  # the token that waits with them

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._pieces)

    @property
    def found(self) -> bool:
        """Whether a stop string came."""
        return self.stop is not None

    @property
    def stop(self) -> str | None:
        """The stop string that came."""
        return None if self._finder is None else self._finder.found

    def add(self, tokens: Sequence[int], rows: Sequence[Position | None], text: str) -> list[Token]:
        """The events for a frame's tokens: the text of all of them is with the first. rows: one for each token."""
        self.last = (len(self.tokens), text)
        self.tokens += tokens
        safe = text
        if self._finder is not None:
            safe = "" if self.found else self._finder.feed(text)
            self._held = 0 if self.found else self._held + len(text) - len(safe)
        new = [Token("", token, row) for token, row in zip(tokens, rows, strict=True)]
        events = self._with_text(([self._waiting] if self._waiting else []) + new, safe)
        self._waiting = events.pop() if self._held else None
        return events

    def end(self) -> list[Token]:
        """The answer is complete: the token that waited, with the rest of the text."""
        rest = self._finder.finish() if self._finder is not None and not self.found else ""
        events, self._waiting, self._held = [self._waiting] if self._waiting else [], None, 0
        return self._with_text(events, rest)

    def _with_text(self, events: list[Token], text: str) -> list[Token]:
        """The first of them gets the text."""
        if text:
            self._pieces.append(text)
            first = events[0]
            events[0] = Token(first.text + text, first.token, first.row)
        return events
