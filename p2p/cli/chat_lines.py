"""Lines that somebody types into a chat, with history and completion, or that come from a pipe.

Law: the history is for its user alone, and bounded. Ctrl-C is a KeyboardInterrupt of the line, never more.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROMPT, MORE = "> ", "... "
MAX_HISTORY = 1000  # lines
MAX_LINE = 1 << 20  # characters of what is typed at once


class Lines:
    """quiet: no prompt is shown, as nobody types."""

    def __init__(self, history: Path, words: Iterable[str], *, quiet: bool = False) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty() and not quiet
        self._history, self._words = history, sorted(words)
        self._readline: Any = None
        if self.interactive:
            self._open()

    def next(self) -> str | None:
        """The next line, or several that end with a backslash, as one; None at the end."""
        try:
            found = self._line(PROMPT)
            while found.endswith("\\") and len(found) < MAX_LINE:
                found = found[:-1] + "\n" + self._line(MORE)
        except EOFError:
            if self.interactive:
                print()
            return None
        return found[:MAX_LINE]

    def _line(self, prompt: str) -> str:
        if not self.interactive:
            text = sys.stdin.readline(MAX_LINE)
            if not text:
                raise EOFError
            return text.rstrip("\n")
        text = input(prompt)
        self._keep()
        return text

    def _open(self) -> None:
        try:
            import readline
        except ImportError:  # a Python without it: lines can be typed all the same
            return
        self._readline = readline
        with contextlib.suppress(OSError):
            readline.read_history_file(self._history)
        readline.set_history_length(MAX_HISTORY)
        readline.set_completer_delims(" ")
        readline.set_completer(self._complete)
        readline.parse_and_bind("tab: complete")

    def _complete(self, text: str, number: int) -> str | None:
        found = [word for word in self._words if word.startswith(text)] if text.startswith("/") else []
        return found[number] if number < len(found) else None

    def _keep(self) -> None:
        if self._readline is None:
            return
        with contextlib.suppress(OSError):  # a folder that cannot be written: the history ends with the program
            os.close(os.open(self._history, os.O_CREAT | os.O_WRONLY, 0o600))
            self._readline.write_history_file(self._history)
