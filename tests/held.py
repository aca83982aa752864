"""A process that a test starts by itself, and that ends with the test.

Law: also where pytest is killed, by the guard that networks have (testnet/guard.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from testnet.processes import fresh_directory, release, write_down


@contextmanager
def held(command: Sequence[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run a command whose standard output the block reads. At the block's end it is killed, with all that it started
    in its group. quiet: what it says on standard error is not shown."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-held-") as folder:
        directory = Path(folder) / "held"
        fresh_directory(directory)
        errors = subprocess.DEVNULL if quiet else None
        with subprocess.Popen(
            list(command), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        ) as process:
            write_down("held", process.pid, command, directory)
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                release(directory)
