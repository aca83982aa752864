"""What a message costs among N gossip peers: the real router in the simulator of tests/sim/gossip, nothing lost.

Law: equal sizes give equal rows but for the CPU time, which is the simulator's as well as the router's.
"""

from __future__ import annotations

import time
from dataclasses import replace
from multiprocessing import get_context
from typing import NamedTuple

SIZES = (100, 300, 1000)
SCENARIO, WARM_S, END_S = "calm", 10.0, 20.0  # messages of the last ten seconds count


class Row(NamedTuple):
    peers: int
    messages: int
    in_time: float  # share of all pairs of message and peer
    p99_s: float
    hops: float  # mean
    most_hops: int
    copies: float  # of a message that a peer sends, so also gets
    bytes: float  # that a peer sends for each message of 1 KiB, control messages included
    control: float  # share of these that is not messages
    cpu_us: float  # for each delivery, with what the simulator needs


def _run(peers: int) -> Row:
    from p2p.gossipsub.params import TopicScoreParams
    from tests.sim.gossip.measure import DEADLINE_MS
    from tests.sim.gossip.run import run
    from tests.sim.gossip.scenarios import drawn

    begun = time.process_time()
    report = run(replace(drawn(SCENARIO, peers, 1), warm=WARM_S, end=END_S), TopicScoreParams())
    cpu_s, reach, sent = time.process_time() - begun, report.reach, max(1, report.sent)
    bytes_each = report.bytes_per_s * (END_S + DEADLINE_MS / 1000) / sent
    return Row(
        peers, reach.messages, reach.in_time, reach.p99, reach.hops, reach.most_hops, report.copies,
        bytes_each, 1 - report.message_share, cpu_s * 1e6 / sent / (peers - 1),
    )


def measure(peers: int) -> Row:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (peers,))
