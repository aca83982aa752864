"""Escapes text of others before it reaches a terminal or a log.

Law: no character of foreign text moves a cursor, sets a colour, reverses the text next to it or breaks an encoder.

All that commands print goes through `Guarded` (cli/main.py installs it), so no command can forget to escape. Escaped
are control characters (C0, C1), marks that override the direction of text, and broken surrogates. Thai, right-to-left
scripts and joined emojis are printed as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TextIO

_BIDI = "\u202a-\u202e\u2066-\u2069"
_FORBIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\ud800-\udfff]")
_BREAKS = re.compile("[\n\t\u2028\u2029]")
LINE_LIMIT = 300  # characters of a foreign name, reason or message on one line


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def clean(text: str) -> str:
    r"""`text` with forbidden characters escaped as in JSON (`\u001b`). Line ends and tabs stay."""
    return _FORBIDDEN.sub(_escaped, text)


def line(text: str, limit: int = LINE_LIMIT) -> str:
    """As `clean`, on one line of about `limit` characters at most.

    For names, reasons and messages: with a line end in them they could imitate a line of ours.
    """
    short = text if len(text) <= limit else text[:limit] + "..."
    return _BREAKS.sub(_escaped, clean(short))


class Guarded:
    """A text stream that cleans what is written to it; every other call goes to the stream inside."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self.uncleaned(clean(text))

    def uncleaned(self, text: str) -> int:
        """Write without cleaning, for a user who asks for it. Characters that the terminal's encoding lacks are
        escaped."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
