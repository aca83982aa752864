"""The whole terminal for a while: another screen, no cursor, keys one by one.

Law: whatever way the block is left, an error, a signal, a stop by Ctrl-Z, the terminal is as it was before.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from p2p.cli.terminal.styled import Line, Look, render

_ON, _OFF = "\x1b[?1049h\x1b[?25l", "\x1b[0m\x1b[?25h\x1b[?1049l"
_KEYS = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOA": "up", b"\x1bOB": "down",
    b"\x1bOC": "right", b"\x1bOD": "left", b"\x1b[5~": "page up", b"\x1b[6~": "page down", b"\x03": "q", b"\x1b": "q",
}
_MAX_KEY = 16  # bytes read at once
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asks the program to end. Not an Exception: it passes every handler on its way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Screen:
    """Draws lines, and says which key was pressed. `woken` is set when the size changed."""

    def __init__(self, terminal_in: int, terminal_out: int, look: Look) -> None:
        self._in, self._out, self._look = terminal_in, terminal_out, look
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def size(self) -> tuple[int, int]:
        """(columns, lines), now."""
        try:
            found = os.get_terminal_size(self._out)
        except OSError:
            found = shutil.get_terminal_size()
        return max(1, found.columns), max(1, found.lines)

    def draw(self, lines: Sequence[Line]) -> None:
        """All lines, cut to the screen as it is now."""
        columns, height = self.size()
        look = self._look._replace(columns=columns)
        shown = [render(one, look) + "\x1b[K" for one in lines[:height]]
        self._write("\x1b[H" + "\r\n".join(shown) + "\x1b[J")

    def key(self, wait_s: float) -> str:
        """The key that is pressed within `wait_s` seconds: a name of _KEYS, or the sign; '' for none, or where the size
        changed, so that the caller draws again."""
        ready, _, _ = select.select([self._in, self._wake_read], [], [], max(0.0, wait_s))
        if self._wake_read in ready:
            os.read(self._wake_read, 64)
            return ""
        if self._in not in ready:
            return ""
        raw = os.read(self._in, _MAX_KEY)
        if not raw:  # the terminal is gone
            return "q"
        return _KEYS.get(raw) or raw[:1].decode("ascii", "ignore")

    def wake(self) -> None:
        """`key` returns at once. May be called by a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def enter(self) -> None:
        tty.setcbreak(self._in)
        self._write(_ON)

    def leave(self, before: list[Any]) -> None:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            self._write(_OFF)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, before)

    def close(self) -> None:
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _write(self, text: str) -> None:
        raw = text.encode("utf-8", "backslashreplace")
        while raw:
            raw = raw[os.write(self._out, raw) :]


@contextlib.contextmanager
def full_screen(look: Look) -> Iterator[Screen]:
    """The terminal of this process, which standard input and output are. Raises Ended when a signal ends it."""
    screen = Screen(sys.__stdin__.fileno(), sys.__stdout__.fileno(), look)  # type: ignore[union-attr]
    before = termios.tcgetattr(screen._in)

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    def stop(number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the terminal is given back, and taken again when the program goes on."""
        screen.leave(before)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, stop)
        screen.enter()
        screen.wake()

    handlers: dict[signal.Signals, Any] = {
        **dict.fromkeys(_ENDS, end), signal.SIGTSTP: stop, signal.SIGWINCH: lambda number, frame: screen.wake(),
    }
    old = {sign: signal.getsignal(sign) for sign in handlers}
    try:
        for sign, handler in handlers.items():
            signal.signal(sign, handler)
        screen.enter()
        yield screen
    finally:
        screen.leave(before)
        for sign, former in old.items():
            signal.signal(sign, former)
        screen.close()
