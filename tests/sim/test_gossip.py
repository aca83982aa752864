"""The simulator of the gossip router at a small size: loss and churn, each attacker; and that its checks can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from libp2p.pubsub.pb import rpc_pb2

from p2p.gossipsub.gossip import Gossip
from p2p.gossipsub.params import TopicScoreParams
from p2p.gossipsub.rpc import Graft, IDontWant, IHave, IWant, Message, PeerInfo, Prune, Rpc, Subscription
from tests.sim.gossip.__main__ import reached, row
from tests.sim.gossip.run import Scenario, run
from tests.sim.gossip.scenarios import P3, drawn
from tests.sim.gossip.wire_size import sizes_of

ROOT = Path(__file__).parent.parent.parent
SCORES = TopicScoreParams()
LOSS = Scenario("loss30", peers=50, loss=0.3, churn=0.6, warm=10.0, end=27.0)


def attack(name: str, *, ratio: int = 3, end: float = 60.0) -> Scenario:
    """The attack of this name on 20 peers, begun early."""
    known = drawn(name, 20, 1)
    attacks = min(known.attacks, 20.0)
    return replace(
        known, dials=6, ratio=ratio, attack_links=12, attacks=attacks, warm=attacks or 10.0, end=end, rate=6.0,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_all_honest_messages_reach_all_honest_peers_in_time_under_loss_and_churn(seed: int) -> None:
    report = run(replace(LOSS, seed=seed), SCORES)
    assert report.reach.messages > 40
    assert report.reach.pairs > 1500
    assert report.reach.in_time == 1.0, row(report)
    assert 1.0 < report.reach.hops < 5.0


def test_without_gossip_about_messages_some_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail."""
    monkeypatch.setattr(Gossip, "emit", lambda *_: None)
    assert run(LOSS, SCORES).reach.in_time < 0.9999


@pytest.mark.parametrize("name", ["flash", "degraded", "covert", "coldboot", "eclipse"])
def test_silent_members_delay_nothing_for_long(name: str) -> None:
    report = run(attack(name, end=40.0), SCORES)
    assert report.sybils > 0
    assert max(report.places.shares) > 0.2, "the attackers had places: " + row(report)
    assert reached(report) >= 0.999, row(report)
    assert report.places.honest_negative == 0.0


def test_members_that_bring_nothing_are_pruned_where_the_topic_counts_mesh_deliveries() -> None:
    """SCORE-3. With two publishers and a small mesh some honest members bring next to nothing as well."""
    without, with_p3 = (run(attack("flash", end=58.0), scores) for scores in (SCORES, P3))
    assert without.places.shares[-1] > 0.2, row(without)
    assert min(with_p3.places.shares[30:]) < min(without.places.shares[30:]) / 2, row(with_p3)
    assert with_p3.places.honest_negative < 0.1
    assert reached(with_p3) >= 0.999


@pytest.mark.parametrize(("name", "caught"), [("offers", 0.95), ("grafts", 0.5), ("lies", 0.95), ("asks", 0.0)])
def test_who_breaks_the_rules_loses_its_score_and_stops_nothing(name: str, caught: float) -> None:
    report = run(attack(name, ratio=2, end=32.0), SCORES)
    assert report.places.negative >= caught, row(report)
    assert report.places.honest_negative == 0.0
    assert reached(report) >= 0.999, row(report)


def test_equal_seeds_are_equal_runs_in_any_process() -> None:
    """Another hash seed for Python's sets and dicts must not matter."""
    options = ["--peers", "20", "--end", "25", "--ratio", "1", "loss30", "flash"]
    command = [sys.executable, "-m", "tests.sim.gossip", *options]
    said = [
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.splitlines()[:3] for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(said[0]) == 3


def test_sizes_are_those_of_libp2p_s_protobuf() -> None:
    ids = (b"i" * 20, b"j" * 20)
    rpc = Rpc(
        subscriptions=(Subscription("topic", True), Subscription("other", False)),
        messages=(Message("topic", b"x" * 300), Message("topic", b"")), ihave=(IHave("topic", ids),),
        iwant=(IWant(ids),), graft=(Graft("topic"),), prune=(Prune("topic", (PeerInfo(b"p" * 39, b"r" * 200),), 60),),
        idontwant=(IDontWant(ids[:1]),),
    )
    wire = rpc_pb2.RPC()
    for said in rpc.subscriptions:
        wire.subscriptions.add(subscribe=said.subscribe, topicid=said.topic)
    for message in rpc.messages:
        wire.publish.add(data=message.data, topicIDs=[message.topic])
    wire.control.ihave.add(topicID="topic", messageIDs=ids)
    wire.control.iwant.add(messageIDs=ids)
    wire.control.graft.add(topicID="topic")
    wire.control.prune.add(topicID="topic", backoff=60).peers.add(peerID=b"p" * 39, signedPeerRecord=b"r" * 200)
    wire.control.idontwant.add(messageIDs=ids[:1])
    assert sum(sizes_of(rpc)) == wire.ByteSize() + 2
