"""A command on a terminal of its own, which a test types into and resizes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

WAIT_S = 120.0


def _take_terminal() -> None:
    """In the new process: its standard input is its controlling terminal, so that Ctrl-C there is a signal, also where
    the tests were started in the background, where a shell has Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, argv: list[str], columns: int = 100, lines: int = 30) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2p", *argv], stdin=self._slave, stdout=self._slave, stderr=self._slave,
            start_new_session=True, preexec_fn=_take_terminal, env={**os.environ, "TERM": "xterm"},
        )
        self.seen = b""
        self._read = 0  # up to there tests have looked

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, what: bytes) -> None:
        """Read until `what` comes, after what an earlier call waited for."""
        deadline = time.monotonic() + WAIT_S
        while (at := self.seen.find(what, self._read)) < 0:
            assert time.monotonic() < deadline, (what, self.seen[self._read :][-3000:])
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 65536)
            elif self.process.poll() is not None:
                raise AssertionError((self.process.returncode, self.seen[-3000:]))
        self._read = at + len(what)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        """The exit status; all output is in `seen`."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 65536)
        return self.process.wait(60)

    def is_as_before(self) -> bool:
        """Modes as they were, the old screen, the cursor seen."""
        on, off = self.seen.rfind(b"\x1b[?1049h"), self.seen.rfind(b"\x1b[?1049l")
        is_shown = self.seen.rfind(b"\x1b[?25h") > self.seen.rfind(b"\x1b[?25l")
        return termios.tcgetattr(self._slave) == self.before and 0 <= on < off and is_shown

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        os.close(self.master)
        os.close(self._slave)
