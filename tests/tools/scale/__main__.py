"""`make scale`: how the cost of a decision, of a message and of the ledger grows with the size of the network, from
the real cores in simulators. It asserts nothing.

Four parts: validators (a decision), gossip (a message), participants (state, draws, an epoch's end), records (what an
inference costs the chain, by bench_ledger.py). Some minutes of one core. Only CPU times depend on the machine. What it
means for large networks is worked out by `python -m tests.tools.scale.paper`, and told in docs/scale.md.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.tools import bench_ledger
from tests.tools.scale import gossip, participants, report, validators

PARTS = ("validators", "gossip", "participants", "records")
Row = TypeVar("Row")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _rows(what: str, jobs: Sequence[tuple[str, Callable[[], Row]]], show: Callable[[Row], str]) -> list[Row]:
    """Run all jobs and print a line for each as it comes; progress goes to stderr."""
    rows, begun = list[Row](), time.monotonic()
    for at, (name, job) in enumerate(jobs, 1):
        words = f"  [{what} {at} of {len(jobs)}, {time.monotonic() - begun:.0f} s] {name} ..."
        print(words, file=sys.stderr, flush=True)
        rows.append(job())
        print(show(rows[-1]), flush=True)
    return rows


def _validators(sizes: Sequence[int], ways: Sequence[str]) -> None:
    print("\na decision: CPU, bytes and frames of each validator; bytes of the certificate; times in one-way delays")
    print(report.VALIDATORS)
    jobs = [
        (f"{n} validators by {way}", lambda n=n, way=way: validators.measure(n, way))
        for n in sizes for way in validators.ways(n) if way in ways
    ]
    rows: list[validators.Row] = _rows("validators", jobs, report.validator_row)
    print("\n".join(report.validator_growth(rows)))


def _gossip(sizes: Sequence[int]) -> None:
    print("\na message of 1 KiB among gossip peers: copies and bytes that each peer sends, no loss")
    print(report.GOSSIP)
    jobs = [(f"{n} peers", lambda n=n: gossip.measure(n)) for n in sizes]
    rows: list[gossip.Row] = _rows("gossip", jobs, report.gossip_row)
    print("\n".join(report.gossip_growth(rows)))


def _participants(sizes: Sequence[int]) -> None:
    print("\nthe ledger with N participants, no inferences in the state: bytes, and CPU in memory")
    print(report.PARTICIPANTS)
    jobs = [(f"{n} participants", lambda n=n: participants.measure(n)) for n in sizes]
    rows: list[participants.Row] = _rows("participants", jobs, report.participant_row)
    print(f"the end of an epoch, CPU ms; -: not run\n{report.EPOCH}")
    print("\n".join([*map(report.epoch_row, rows), *report.participant_growth(rows)]))


def _records(count: int) -> None:
    print("\nan inference on a real chain (bench_ledger.py)")
    bench_ledger.capacity()
    bench_ledger.measure(1000, count, False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.scale", description=__doc__)
    for what, sizes in zip(PARTS[:3], (validators.SIZES, gossip.SIZES, participants.SIZES), strict=True):
        shown = ",".join(map(str, sizes))
        parser.add_argument(f"--{what}", type=numbers, default=sizes, help=f"sizes (default: {shown})")
    parser.add_argument(
        "--votes-by", choices=validators.WAYS, nargs="+", default=validators.WAYS, help="default: both",
    )
    parser.add_argument("--records", type=int, default=1800, help="records to apply (default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, help="one part (default: all)")
    options = parser.parse_args(argv)
    begun = time.monotonic()
    parts: dict[str, Callable[[], None]] = {
        "validators": lambda: _validators(options.validators, options.votes_by),
        "gossip": lambda: _gossip(options.gossip),
        "participants": lambda: _participants(options.participants), "records": lambda: _records(options.records),
    }
    print(
        f"set-up: Python {platform.python_version()}, seed 1, equal weights, one-way delay 100 ms between validators, "
        f"5 to 150 ms between gossip peers; an epoch of 200 blocks, one request a second and host"
    )
    for name, part in parts.items():
        if options.only in (None, name):
            part()
    print(f"\n{time.monotonic() - begun:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
