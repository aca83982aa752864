"""A clock that is off is off for the process that follows its file, and for its wall clock alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testnet.manifest.kinds import Needs
from testnet.runs.machine_faults import clock_env, missing, set_clock

OFFSET_MS, NEAR_MS = 3_600_000, 600_000
LOOKS = 200
CODE = """
import time, trio
async def main():
    while True:
        print(time.time_ns(), time.monotonic_ns(), flush=True)
        await trio.sleep(0.1)
trio.run(main)
"""


@pytest.mark.skipif(bool(missing(Needs.CLOCKS)), reason=missing(Needs.CLOCKS) or "-")
def test_a_clock_is_off_and_right_again(tmp_path: Path) -> None:
    undo = set_clock(tmp_path, 0.0)
    child = subprocess.Popen([sys.executable, "-c", CODE], env={**os.environ, **clock_env(tmp_path)},
                             stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None

    def gets_near(offset_ms: float) -> bool:
        """Whether its wall clock comes to this offset, while its other clock stays right."""
        for _, line in zip(range(LOOKS), child.stdout, strict=False):  # type: ignore[arg-type]
            wall, steady = map(int, line.split())
            assert abs(steady - time.monotonic_ns()) / 1e6 < NEAR_MS
            if abs((wall - time.time_ns()) / 1e6 - offset_ms) < NEAR_MS:
                return True
        return False

    try:
        assert gets_near(0.0)
        set_clock(tmp_path, OFFSET_MS)
        assert gets_near(OFFSET_MS)
        undo()
        assert gets_near(0.0)
    finally:
        child.kill()
        child.wait()
