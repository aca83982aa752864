"""Where the time of a request goes, as the header Server-Timing says it (W3C Server Timing).

Law: three parts that follow on each other: `read` the request, `prepare` the question, and the `network` up to the
answer's first piece, or to its end where it is sent in one piece.
"""

from __future__ import annotations

import trio


class Timing:
    """Of one request."""

    def __init__(self, began: float | None = None) -> None:
        """began: on trio's clock; None: now."""
        self._began = self._last = trio.current_time() if began is None else began
        self._parts: list[tuple[str, float]] = []

    def end(self, part: str) -> None:
        """The part that began at the end of the last one ends now."""
        now = trio.current_time()
        self._parts.append((part, now - self._last))
        self._last = now

    def so_far(self) -> float:
        """Seconds since the request began."""
        return trio.current_time() - self._began

    def header(self) -> bytes:
        """The header's value, in milliseconds."""
        return ", ".join(f"{name};dur={1000 * took:.2f}" for name, took in self._parts).encode()
