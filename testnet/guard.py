"""Ends a network whose owner has ended without a word: killed, say, together with its test.

Law: it knows nothing but DIR/testnet.json, and kills only what is written down there.

`python -m testnet.guard DIR` waits until its standard input ends, which the kernel does when the owner is gone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from testnet.state_file import alive, read_state


def main() -> None:
    sys.stdin.buffer.read()
    for entry in read_state(Path(sys.argv[1]))["processes"].values():
        if alive(entry):
            os.killpg(entry["pid"], signal.SIGKILL)


if __name__ == "__main__":
    main()
