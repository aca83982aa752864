"""Fifty routers that hear each other: every message reaches all."""

from __future__ import annotations

from random import Random

from p2p.base.outcome import Outcome
from p2p.gossipsub.params import params_for
from p2p.gossipsub.rpc import Delivery, Graft, Message, Rpc
from tests.gossipsub.net import PRIORITIES, TXS, VOTES, Net


def published(net: Net, number: int, topic: str = TXS, size: int = 300) -> dict[bytes, str]:
    """Messages by publishers drawn by lot, with their publishers."""
    rng, names = Random(net.seed + 77), list(net.routers)
    return {net.publish(name, rng.randbytes(size), topic): name for name in rng.choices(names, k=number)}


def test_every_message_reaches_all_once() -> None:
    net = Net(50, 8)
    net.beat(3)
    ids = published(net, 100)
    net.settle()
    assert net.missing(ids) == []
    assert all(len(got) == len(set(got)) for got in net.got.values())
    members = [len(router.mesh(TXS)) for router in net.routers.values()]
    assert 4 <= min(members) <= max(members) <= 12
    assert net.copies <= 13 * len(ids) * net.size, "a copy for each link of the mesh, and floods at the publishers"


def test_meshes_agree_when_all_was_said() -> None:
    net = Net(50, 8, seed=2)
    net.beat(5)
    for name, router in net.routers.items():
        assert all(name in net.routers[other].mesh(TXS) for other in router.mesh(TXS))


def test_a_large_message_crosses_fewer_links_than_a_small_one() -> None:
    def copies(size: int) -> int:
        net = Net(30, 8, seed=3)
        net.beat(3)
        before = net.copies
        ids = published(net, 20, size=size)
        net.settle()
        assert net.missing(ids) == []
        return net.copies - before

    assert copies(10_000) < 0.8 * copies(300), "IDONTWANT"


def test_with_a_third_of_all_rpcs_lost_every_message_reaches_all_by_gossip() -> None:
    net = Net(50, 10, seed=4)
    net.beat(3)
    net.loss = 0.3
    ids = published(net, 60)
    net.settle()
    net.beat(6)
    assert net.missing(ids) == []


def test_a_part_that_was_cut_off_hears_what_it_missed() -> None:
    net = Net(12, 5, seed=5)
    net.beat(3)
    alone = "n000"
    links = sorted(net.links[alone])
    for other in links:
        net.disconnect(alone, other)
    net.beat(1)
    ids = published(net, 10)
    ids = {id_: by for id_, by in ids.items() if by != alone}
    net.settle()
    assert {name for name, _ in net.missing(ids)} == {alone}
    net.beat(1)
    for other in links:
        net.connect(alone, other)
    net.settle()
    net.beat(2)
    assert net.missing(ids) == []


def test_what_is_wrong_goes_no_further_than_one_link_and_its_maker_is_shut_out() -> None:
    net = Net(20, 6, seed=6, judge=lambda name, delivery: Outcome.REJECT if delivery.data[:3] == b"bad" else
              Outcome.ACCEPT)
    net.beat(3)
    for i in range(40):
        net.publish("n000", b"bad %d" % i)
        net.settle()
        net.beat(1)
    links = net.links["n000"]
    got = {name for name, ids in net.got.items() if ids}
    assert got == links
    assert all(net.routers[name].score("n000") < net.routers[name]._params.thresholds.graylist for name in links)
    assert all("n000" not in net.routers[name].mesh(TXS) for name in links)
    ids = {net.publish("n001", b"good"): "n001"}
    net.settle()
    assert {name for name, _ in net.missing(ids)} <= {"n000"}


def test_what_some_cannot_judge_reaches_the_others() -> None:
    """IGNORE: a message goes around those that do not know what it needs, and reaches them later."""
    behind: set[str] = set()

    def judge(name: str, delivery: Delivery) -> Outcome:
        return Outcome.IGNORE if name in behind else Outcome.ACCEPT

    net = Net(30, 8, seed=7, judge=judge)
    net.beat(3)
    behind |= {f"n{i:03}" for i in range(5, 15)}
    ids = {net.publish("n000", b"early"): "n000"}
    net.settle()
    (id_,) = ids
    knows = {name for name, router in net.routers.items() if router._messages._seen.when(id_) is not None}
    assert knows == set(net.routers) - behind
    behind.clear()
    net.beat(4)
    knows = {name for name, router in net.routers.items() if router._messages._seen.when(id_) is not None}
    assert knows == set(net.routers), "offered again while it is kept"


def test_churn_leaves_no_trace_but_scores_and_back_offs() -> None:
    net = Net(20, 6, seed=8)
    rng = Random(8)
    for _ in range(30):
        a = rng.choice(list(net.routers))
        b = rng.choice(sorted(net.links[a]))
        net.disconnect(a, b)
        net.beat(1)
        ids = published(net, 3)
        net.connect(a, b)
        net.settle()
        net.beat(2)
        assert net.missing(ids) == []
        net.seed += 1
    for name, router in net.routers.items():
        assert set(router._neighbours.by_name) == net.links[name]
        assert set(router.mesh(TXS)) <= net.links[name]
        assert router.status()["judging"] == 0


def test_twenty_strangers_that_fill_a_mesh_and_forward_nothing_do_not_stop_votes() -> None:
    """The wanted are told whoever is in the mesh."""
    net = Net(5, 4, seed=9, topics=(VOTES,), params=params_for(5, priorities=PRIORITIES))
    for name, router in net.routers.items():
        for other in net.routers:
            router.wants(other, other != name)
        for i in range(20):
            stranger = f"s{i}"
            router.add_peer(stranger, version=11, outbound=False, group="x", now=net.now)  # type: ignore[arg-type]
            router.receive(stranger, Rpc(graft=(Graft(VOTES),)), net.now)
    strangers = {f"s{i}" for i in range(20)}

    def settle() -> None:
        while any(set(router.due()) - strangers for router in net.routers.values()):
            for name, router in net.routers.items():
                for other in set(router.due()) & strangers:
                    router.take(other, 1 << 20)
                net.step(name)

    net.settle = settle  # type: ignore[method-assign]
    net.beat(3)
    votes = [Message(VOTES, b"vote %d" % i) for i in range(10)]
    ids = {net.publish("n000", vote.data, VOTES): "n000" for vote in votes}
    settle()
    assert net.missing(ids) == []
