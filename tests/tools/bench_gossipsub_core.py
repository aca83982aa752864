"""What the gossip router costs without streams and protobuf: part of `make bench-gossip`. It asserts nothing.

1. One router among eight members of its mesh. Each message of 300 bytes comes from four of them, is accepted, and goes
   to the other four. In microseconds of CPU: a first copy with its judgement and forwarding, a further copy, a copy
   taken for sending. Beside it, as the bound, the SHA-256 of a copy.
2. Networks of 8 and 50 routers in memory: CPU for each delivered message, everything included.
3. A heartbeat of a router with 64 neighbours and 200 recent messages.

"alone": one message in an RPC; "by 25": 25 in an RPC, as writers send them that wait a tick.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from hashlib import sha256
from random import Random

from p2p.base.outcome import Outcome
from p2p.gossipsub.params import Priority, TopicScoreParams, params_for
from p2p.gossipsub.router import Router
from p2p.gossipsub.rpc import Graft, Message, Rpc, Subscription, Version, id_prefix
from tests.gossipsub.net import PRIORITIES, VOTES, Net

SIZE = 300  # bytes of a message: a vote with its signature and framing
RNG = Random(1)


def best_of(times: int, measure: Callable[[], float]) -> float:
    """The least of several measurements: others use this machine too."""
    return min(measure() for _ in range(times))


def crowd(neighbours: int, *, late_copies: bool = False) -> Router:
    """A router on VOTES whose neighbours are all in its mesh. late_copies: further copies count (P3)."""
    score = TopicScoreParams(mesh_message_deliveries_weight=-1.0 if late_copies else 0.0)
    router = Router(params_for(100, priorities={VOTES: Priority.VOTES}, scores={VOTES: score}), RNG, me="me")
    router.join(VOTES, 0.0)
    for i in range(neighbours):
        router.add_peer(f"p{i}", version=Version.V1_2, outbound=True, group="", now=0.0)
        router.receive(f"p{i}", Rpc(subscriptions=(Subscription(VOTES, True),), graft=(Graft(VOTES),)), 0.0)
        router.take(f"p{i}", 1 << 20)
    return router


def costs(batch: int, *, late_copies: bool = False) -> tuple[float, float, float]:
    """(us a first copy with judgement and forwarding, us a further copy, us a copy taken)."""
    router, now = crowd(8, late_copies=late_copies), 0.0
    rpcs = [
        Rpc(messages=tuple(Message(VOTES, RNG.randbytes(SIZE)) for _ in range(batch))) for _ in range(5000 // batch)
    ]
    spent = [0, 0, 0]
    taken = 0
    clock = time.thread_time_ns
    for number, rpc in enumerate(rpcs):
        now = number * 0.01
        begun = clock()
        for delivery in router.receive("p0", rpc, now):
            router.judge(delivery.id, Outcome.ACCEPT, now)
        first = clock()
        for peer in ("p1", "p2", "p3"):
            router.receive(peer, rpc, now)
        further = clock()
        for peer in list(router.due()):
            got = router.take(peer, 1 << 20)
            taken += len(got.messages) if got is not None else 0
        spent[2] += clock() - further
        spent[1] += further - first
        spent[0] += first - begun
        if number % (100 // batch) == 0:
            router.heartbeat(now)
    messages = batch * len(rpcs)
    return spent[0] / messages / 1000, spent[1] / messages / 3000, spent[2] / max(1, taken) / 1000


def hashing() -> float:
    prefix, data = id_prefix(VOTES), RNG.randbytes(SIZE)
    begun = time.thread_time_ns()
    for _ in range(5000):
        sha256(prefix + data).digest()[:20]
    return (time.thread_time_ns() - begun) / 5000 / 1000


def network(size: int, messages: int) -> tuple[float, float]:
    """(us of CPU for a delivered message, copies for a delivered message)."""
    net = Net(size, 8, topics=(VOTES,), params=params_for(size, priorities=PRIORITIES))
    net.beat(3)
    copies = net.copies
    begun = time.thread_time_ns()
    for _ in range(messages // 50):
        for name in RNG.choices(list(net.routers), k=50):
            net.publish(name, RNG.randbytes(SIZE), VOTES)
        net.beat()
    spent = (time.thread_time_ns() - begun) / 1000
    delivered = messages * (size - 1)
    return spent / delivered, (net.copies - copies) / delivered


def heartbeat() -> float:
    router = crowd(64)
    for i in range(200):
        router.publish(VOTES, i.to_bytes(4, "big"), 0.0)
    begun = time.thread_time_ns()
    for i in range(3):
        router.heartbeat(1.0 + i)
    return (time.thread_time_ns() - begun) / 3000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench_gossipsub_core", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="the best of so many runs is shown (default: %(default)s)")
    times = parser.parse_args().times
    gc.freeze()
    print(f"bound: SHA-256 of a copy {best_of(times, hashing):22.2f} us")
    for label, batch, late in (("alone", 1, False), ("by 25", 25, False), ("by 25, P3 on", 25, True)):
        found = [costs(batch, late_copies=late) for _ in range(times)]
        first, further, taken = (min(column) for column in zip(*found, strict=True))
        print(f"{label:14} first copy, judged, to four {first:6.2f} us   further copy {further:5.2f} us   "
              f"taken {taken:5.2f} us   a copy in and out {(first + 3 * further + 4 * taken) / 4:5.2f} us")
    for size, messages in ((8, 1000), (50, 200)):
        spent, copies = min(network(size, messages) for _ in range(max(1, times // 2)))
        print(f"network of {size:3}: {spent:6.1f} us a delivered message, {copies:4.1f} copies each")
    print(f"a heartbeat with 64 neighbours and 200 messages {best_of(times, heartbeat):8.0f} us")


if __name__ == "__main__":
    main()
