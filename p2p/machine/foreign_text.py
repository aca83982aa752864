"""Text that others made, on its way to a terminal or a log. Law: no character of it moves a cursor, sets a colour, reverses what is beside it
or breaks an encoder; it is shown escaped instead.

Everything that commands print goes through `Guarded` (cli/main.py sets it up), so no command can forget. Thai, right-to-left scripts and
joined emojis are text like any other: only control characters (C0, C1), the marks that override directions, and broken surrogates are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TextIO

_BIDI = "\u202a-\u202e\u2066-\u2069"
_FORBIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\ud800-\udfff]")
_BREAKS = re.compile("[\n\t\u2028\u2029]")


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def clean(text: str) -> str:
    r"""`text` with what is forbidden as `\u001b`, which is what it is in JSON too. Line ends and tabs stay."""
    return _FORBIDDEN.sub(_escaped, text)


def line(text: str, limit: int = 300) -> str:
    """The same on one line of at most about `limit` characters: for names, reasons and messages, which could else imitate a line of ours."""
    short = text if len(text) <= limit else text[:limit] + "..."
    return _BREAKS.sub(_escaped, clean(short))


class Guarded:
    """A text stream that cleans all it is given to write; else it is the stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self.uncleaned(clean(text))

    def uncleaned(self, text: str) -> int:
        """For a user who asks for it. What the terminal's encoding has not is escaped all the same."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
