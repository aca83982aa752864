"""What is run, by name; and what the paper measured in the like.

Law: a scenario is data, so that equal names and seeds are equal runs.

The paper: Vyzovitis et al. 2020, GossipSub: Attack-Resilient Message Propagation in the Filecoin and ETH2.0 Networks
(arXiv 2007.02754): 1,000 honest peers with 20 connections each, 100 of them publish 120 messages of 2 KiB a second;
4,000 attackers with 100 connections each, that is 20 to one; 25 ms from peer to peer; D 8, D_hi 12.
"""

from __future__ import annotations

from dataclasses import replace

from p2p.gossipsub.params import TopicScoreParams, decay_over
from tests.sim.gossip.run import Scenario

SCENARIOS = {
    one.name: one for one in (
        Scenario("calm", end=45.0),
        Scenario("loss10", loss=0.1, churn=0.3, end=45.0),
        Scenario("loss30", loss=0.3, churn=0.3, end=45.0),
        Scenario("harsh30", loss=0.3, harsh=True, churn=0.3, end=45.0),
        Scenario("stalls", stalls=0.3, loss=0.1, end=120.0),
        Scenario("covert", ratio=20, begins=0.0, attacks=60.0, warm=60.0, end=180.0),
        Scenario("flash", ratio=20, begins=20.0, attacks=20.0, warm=20.0, end=120.0),
        Scenario("degraded", ratio=20, begins=20.0, attacks=20.0, drops=0.5, warm=20.0, end=120.0),
        Scenario("coldboot", ratio=20, begins=0.0, attacks=0.0, end=120.0),
        Scenario("eclipse", ratio=20, begins=20.0, attacks=20.0, warm=20.0, end=120.0, one_target=True),
        Scenario("offers", kind="offerer", ratio=2, end=60.0),
        Scenario("asks", kind="asker", ratio=2, end=60.0),
        Scenario("grafts", kind="grafter", ratio=2, end=60.0),
        Scenario("lies", kind="liar", ratio=2, end=60.0),
    )
}
PAPER = {  # of the paper, and of its authors' summary of it
    "covert": "all within 6 s, mesh whole again within 2 minutes",
    "flash": "attackers kept out from the onset, delivery not affected",
    "coldboot": "all within 6 s, slightly later than without",
}
# Members that bring less than a twentieth of what comes lose score. (In the paper: less than 10 messages of 40,000.)
P3 = TopicScoreParams(
    mesh_message_deliveries_weight=-10.0, mesh_message_deliveries_share=0.05, mesh_message_deliveries_threshold=2.0,
    mesh_message_deliveries_cap=4.0, mesh_failure_penalty_weight=-2.0, mesh_failure_penalty_decay=decay_over(1200),
)


def drawn(name: str, peers: int, seed: int) -> Scenario:
    """A scenario for so many peers."""
    return replace(SCENARIOS[name], peers=peers, seed=seed)
