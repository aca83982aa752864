"""`python -m tests.sim.gossip --peers N [SCENARIO ...]`: a row for each scenario. Exit code 1 when delivery missed its
goal.

Goal without attackers: every message reaches every honest peer within six heartbeats. Under attack: 99.9 % do.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from p2p.gossipsub.params import TopicScoreParams
from tests.sim.gossip.run import Report, run
from tests.sim.gossip.scenarios import P3, PAPER, SCENARIOS, drawn

HEAD = (
    "scenario  peers attackers seed  messages in time   p50    p99  worst hops  kB/s  held: first  most   end  alone "
    "below 0"
)


def goal(report: Report) -> float:
    """The share of deliveries in time that is asked for."""
    return 0.999 if report.sybils else 1.0


def reached(report: Report) -> float:
    """The share that was seen: for one target alone, its own, if that is less."""
    return min([report.reach.in_time] + ([report.target.in_time] if report.target is not None else []))


def row(report: Report) -> str:
    """One line of the table. held: the share of honest mesh places that attackers hold, when they first do, at most,
    and in the mean of the last half minute. alone: peers with nobody honest in the mesh, at the end. below 0: links to
    attackers with a negative score, at the end."""
    s, r, p = report.scenario, report.reach, report.places
    line = (
        f"{s.name:9} {s.peers:5} {report.sybils:9} {s.seed:4} {r.messages:9} {reached(report):7.2%} {r.p50:4.2f}s "
        f"{r.p99:5.2f}s {r.worst:5.2f}s {r.hops:4.1f} {report.bytes_per_s / 1000:5.1f}"
    )
    if report.sybils:
        first = next((share for share in p.shares if share), 0.0)
        last = sum(p.shares[-30:]) / len(p.shares[-30:])
        line += f"       {first:5.0%} {max(p.shares):5.0%} {last:5.0%} {p.encircled[-1]:6} {p.negative:7.0%}"
    if p.honest_negative:
        line += f"  {p.honest_negative:.1%} of honest links below 0"
    return line + ("" if reached(report) >= goal(report) else "  MISSED")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.gossip", description=__doc__)
    parser.add_argument("scenario", nargs="*", default=list(SCENARIOS), help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--peers", type=int, default=60, help="honest ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ratio", type=int, help="links to attackers for each honest link, where there are attackers")
    parser.add_argument("--end", type=float, help="seconds of each run")
    parser.add_argument("--p3", action="store_true", help="members of the mesh that bring nothing lose score (P3)")
    options = parser.parse_args()
    print(HEAD, flush=True)
    missed, started = 0, time.process_time()
    for name in options.scenario:
        scenario = drawn(name, options.peers, options.seed)
        if options.ratio and scenario.ratio:
            scenario = replace(scenario, ratio=options.ratio)
        if options.end:
            scenario = replace(scenario, end=options.end)
        report = run(scenario, P3 if options.p3 else TopicScoreParams())
        missed += reached(report) < goal(report)
        print(row(report) + (f"  (paper: {PAPER[name]})" if name in PAPER else ""), flush=True)
    print(f"goals missed: {missed}; {time.process_time() - started:.0f} s of CPU")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
