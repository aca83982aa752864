"""`make flame`: where the time of one peer goes, in a network of real peers without requests. It asserts nothing.

A peer in the middle of the network is sampled by py-spy, from outside. A peer that waits for a processor counts as
busy, so on a full machine the table shows what it waits for most. Compare two states of the code with the same command
on the same machine.

`python -m tests.tools.flame [--peers N] [--start S] [--seconds S] [--out FILE.svg]`
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from testnet.generate import Plan, generate
from testnet.processes import stop
from tests.tools.bench_scale import processes, start_all
from tests.tools.flame_graph import draw

RATE = 200  # samples a second
LEAST = 0.01  # share of the time below which a task is not told
_LOOP = re.compile(r"^unrolled_run ")  # trio's loop; what it calls by `coro.send` is a task
_WRAPPERS = ("once ", "Tasks.keep ", "guard_streams", "BasicHost", "SwarmConn", "_Judge")  # around the task that counts


def shares(stacks: str) -> list[tuple[str, float]]:
    """(task, share of all samples), most first, of collapsed stacks: `frame;frame;... count` a line."""
    found: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        loop = next((at for at, frame in enumerate(frames) if _LOOP.match(frame)), None)
        inside = frames[loop + 1 :] if loop is not None else []
        if "epoll" in frames[-1]:
            task = "waiting for events, or for a processor after it"
        elif not inside:
            task = "outside tasks" if loop is None else "trio's loop itself"
        else:
            named = [frame for frame in inside if not frame.startswith(_WRAPPERS)]
            task = (named or inside)[0].partition(" ")[0]
        found[task] += int(count)
    total = max(1, found.total())
    return [(task, count / total) for task, count in found.most_common() if count / total >= LEAST]


def record(pid: int, out: Path, seconds: float) -> bool:
    """Sample a process; False where py-spy cannot."""
    command = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    done = subprocess.run(
        [command, "record", "--pid", str(pid), "--output", str(out), "--format", "raw", "--rate", str(RATE),
         "--duration", str(round(seconds)), "--nonblocking"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10 * seconds + 60, check=False,
    )
    return done.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.flame", description=__doc__)
    parser.add_argument("--peers", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--start", type=float, default=60.0, help="seconds before it samples (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="for which it samples (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("flame.svg"), help="default: %(default)s")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="folkmoot-flame-") as folder:
        directory, raw = Path(folder) / "net", Path(folder) / "stacks"
        directory.mkdir()
        settings = (("expected_size", options.peers), ("log_level", "warning"))
        folders = generate(Plan(directory, options.peers, settings=settings, accounts=()))
        try:
            print(f"{options.peers} peers start; samples after {options.start:.0f} s", flush=True)
            start_all(directory, folders, loaded=False)
            time.sleep(options.start)
            recorded = record(processes(directory)[options.peers // 2], raw, options.seconds)
        finally:
            stop(directory)
        if not recorded:
            print("py-spy did not run: pip install py-spy, and be allowed to trace processes", file=sys.stderr)
            return 1
        stacks = raw.read_text()
        for task, share in shares(stacks):
            print(f"{share:7.1%}  {task}")
        options.out.write_text(draw(stacks, f"one of {options.peers} idle peers, {options.seconds:.0f} s"))
        print(f"flame graph: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
