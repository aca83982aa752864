"""A network ends with whoever made it, also where that is killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from testnet.state_file import read_state

MAKER = """
import sys, time
from pathlib import Path
from testnet.processes import fresh_directory, launch
directory = Path(sys.argv[1])
fresh_directory(directory, stays=bool(sys.argv[2]))
launch("one", ["sleep", "1000"], directory / "log", directory)
print("there", flush=True)
time.sleep(1000)
"""


HOLDER = """
import time
from tests.held import held
with held(["sleep", "1000"]) as process:
    print(process.pid, flush=True)
    time.sleep(1000)
"""


def test_a_process_that_a_test_starts_by_itself_ends_with_the_test() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout is not None
        handle = os.pidfd_open(int(test.stdout.readline()))
        test.kill()
    try:
        assert select.select([handle], [], [], 300)[0]
    finally:
        os.close(handle)


@pytest.mark.parametrize("stays", ["", "stays"])
def test_what_was_started_ends_with_its_maker(tmp_path: Path, stays: str) -> None:
    directory = tmp_path / "net"
    with subprocess.Popen(
        [sys.executable, "-c", MAKER, str(directory), stays], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "there\n"
        (entry,) = read_state(directory)["processes"].values()
        handle = os.pidfd_open(entry["pid"])
        maker.kill()
    try:
        if stays:
            assert json.loads((directory / "testnet.json").read_text())["processes"]["one"]["pid"] == entry["pid"]
            assert not select.select([handle], [], [], 0)[0], "it goes on"
            os.kill(entry["pid"], 9)
        assert select.select([handle], [], [], 300)[0]
    finally:
        os.close(handle)
