"""`make bench-serve`: what the network adds to a vLLM, over HTTP as tools ask.

Four peers and one vLLM on this machine. The same questions go, in turn, to `folkmoot gateway` and to that vLLM itself;
figures are medians of pairs, ratios of the same run. All of them share the machine's cores, so ratios count.

    python -m tests.tools.bench_serve [--pairs 20] [--concurrency 1,4,16,64] [--rounds 1] [--only first,rates,programs]

Rows of our own: time to the first token of a short and of a long question, and of the second turn of a conversation
with long history; of the same peer asked by the client library without the gateway; where that time goes; tokens a
second with several streams at once; CPU of the peers a streamed token. Then two programs that others wrote, `vllm bench
serve` and guidellm, with short and with long prompts.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import trio

from tests.tools.bench_serve import programs, rows
from tests.tools.bench_serve.network import measured

PARTS = ("first", "rates", "programs")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="of each of our own rows (default: %(default)s)")
    parser.add_argument("--concurrency", default="1,4,16,64", help="streams at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="of each program (default: %(default)s)")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, commas between (default: %(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(".testnet/bench-serve"))
    options = parser.parse_args()
    widths = [int(word) for word in options.concurrency.split(",")]
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the network is stopped too
    with measured(options.dir.resolve(), print) as bench:
        trio.run(rows.measure, bench, options.pairs if "first" in parts else 0, widths if "rates" in parts else ())
        if "programs" in parts:
            programs.measure(bench, widths, options.rounds, print)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
