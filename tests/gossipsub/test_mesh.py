"""MESH-1 to MESH-10: who is in a mesh, and how long nobody is grafted."""

from __future__ import annotations

import pytest

from p2p.base.limits import MAX_PRUNE_BACKOFF_S
from p2p.gossipsub.params import Thresholds
from p2p.gossipsub.rpc import Graft, Message, Prune, Rpc, Subscription
from tests.gossipsub.net import ADVERTS, PARAMS, TXS, VOTES, One, few


def grafted(one: One, names: list[str], topic: str = TXS) -> list[str]:
    """Those of the neighbours to which a GRAFT for the topic waited."""
    return [name for name in names if Graft(topic) in one.sent(name).graft]


def pruned(one: One, names: list[str], topic: str = TXS) -> list[str]:
    return [name for name in names if any(prune.topic == topic for prune in one.sent(name).prune)]


def test_mesh_1_joining_grafts_d_peers_and_says_so() -> None:
    one = One(topics=())
    names = one.peers(10)
    one.router.join(TXS, one.now)
    mesh = one.router.mesh(TXS)
    assert len(mesh) == PARAMS.degree
    sent = {name: one.sent(name) for name in names}
    assert all(rpc.subscriptions == (Subscription(TXS, True),) for rpc in sent.values())
    assert sorted(mesh) == [name for name in names if sent[name].graft == (Graft(TXS),)]


def test_mesh_1_the_fanout_comes_first() -> None:
    one = One(few(flood_publish=False), topics=())
    names = one.peers(40)
    one.router.publish(TXS, b"x", one.now)
    fanout = {name for name in names if one.told(name)}
    assert len(fanout) == PARAMS.degree
    one.router.join(TXS, one.now)
    assert set(one.router.mesh(TXS)) == fanout


def test_mesh_2_leaving_prunes_with_the_short_back_off_which_both_keep() -> None:
    one = One()
    names = [one.member(f"p{i}") for i in range(5)]
    one.router.leave(TXS, one.now)
    assert one.router.mesh(TXS) == ()
    for name in names:
        assert one.sent(name) == Rpc(subscriptions=(Subscription(TXS, False),), prune=(Prune(TXS, (), 10),))
    one.router.join(TXS, one.now)
    assert one.router.mesh(TXS) == ()
    one.beat(10)
    assert one.router.mesh(TXS) == (), "the slack of one heartbeat is not over"
    one.beat()
    assert len(one.router.mesh(TXS)) == 5


def test_mesh_3_a_negative_score_ends_membership_at_the_next_heartbeat_without_naming_others() -> None:
    one = One()
    for i in range(5):
        one.member(f"p{i}")
    one.router.app_score("p3", -1)
    one.beat()
    assert sorted(one.router.mesh(TXS)) == ["p0", "p1", "p2", "p4"]
    assert one.sent("p3").prune == (Prune(TXS, (), 60),)


def test_mesh_4_below_d_low_it_is_filled_to_d_and_not_before() -> None:
    one = One()
    for i in range(4):
        one.member(f"m{i}")
    names = one.peers(10)
    one.beat()
    assert len(one.router.mesh(TXS)) == 4 == PARAMS.degree_low
    assert grafted(one, names) == []
    one.router.remove_peer("m0", one.now)
    one.beat()
    assert len(one.router.mesh(TXS)) == PARAMS.degree
    assert len(grafted(one, names)) == 3


def test_mesh_4_neither_negative_nor_unsubscribed_nor_backed_off_peers_are_grafted() -> None:
    one = One()
    one.peer("bad")
    one.router.app_score("bad", -0.5)
    one.peer("elsewhere", VOTES)
    one.member("left")
    one.says("left", Rpc(prune=(Prune(TXS, (), 30),)))
    one.peer("good")
    one.beat()
    assert one.router.mesh(TXS) == ("good",)


def crowd(one: One, size: int, dialled: int = 0) -> list[str]:
    """Members beyond D_hi: a full mesh is joined by those that we dialled and those that are wanted."""
    names = [one.member(f"i{i:02}") for i in range(size - dialled)]
    return names + [one.member(f"o{i:02}", outbound=True) for i in range(dialled)]


def test_mesh_5_above_d_high_the_best_and_some_by_lot_are_kept() -> None:
    kept_by_lot = set()
    for seed in range(12):
        one = One(few(degree_out=0), seed=seed)
        names = crowd(one, 13, dialled=1)
        for name in names[:4]:
            one.router.app_score(name, 5)
        one.beat()
        mesh = set(one.router.mesh(TXS))
        assert len(mesh) == PARAMS.degree
        assert set(names[:4]) <= mesh, "the best D_score stay"
        assert sorted(pruned(one, names)) == sorted(set(names) - mesh)
        kept_by_lot |= mesh - set(names[:4])
    assert len(kept_by_lot) > 5, "the others by lot"


def test_mesh_5_at_least_d_out_of_those_kept_were_dialled_by_us() -> None:
    for seed in range(10):
        one = One(seed=seed)
        names = crowd(one, 14, dialled=2)
        for name in names[:12]:
            one.router.app_score(name, 5)
        one.beat()
        mesh = one.router.mesh(TXS)
        assert len(mesh) == PARAMS.degree
        assert {"o00", "o01"} <= set(mesh)


def test_mesh_5_wanted_members_stay() -> None:
    one = One()
    names = crowd(one, 14, dialled=2)
    for name in names[:3]:
        one.router.wants(name, True)
    for name in names[3:]:
        one.router.app_score(name, 5)
    one.beat()
    assert set(names[:3]) <= set(one.router.mesh(TXS))
    assert len(one.router.mesh(TXS)) == 3 + PARAMS.degree_score


def test_mesh_5_of_many_wanted_members_some_leave() -> None:
    """Else each of a set of validators forwards every message to all others."""
    one = One()
    for name in (names := crowd(one, 20, dialled=20)):
        one.router.wants(name, True)
    one.beat()
    mesh = set(one.router.mesh(TXS))
    assert len(mesh) == PARAMS.degree + PARAMS.degree_score
    assert mesh < set(names)


def test_mesh_7_d_of_the_wanted_enter_a_full_mesh() -> None:
    one = One()
    strangers = crowd(one, PARAMS.degree_high)
    for i in range(2 * PARAMS.degree):
        one.router.wants(one.peer(f"w{i}"), True)
        one.says(f"w{i}", Rpc(graft=(Graft(TXS),)))
    assert len(set(one.router.mesh(TXS)) - set(strangers)) == PARAMS.degree


def test_mesh_6_a_mesh_takes_in_peers_that_we_dialled_until_it_has_d_out() -> None:
    one = One()
    for i in range(5):
        one.member(f"m{i}")
    one.peers(3, first="o", outbound=True)
    one.peers(3, first="i")
    one.beat()
    assert len(one.router.mesh(TXS)) == 5 + PARAMS.degree_out
    assert sum(name.startswith("o") for name in one.router.mesh(TXS)) == PARAMS.degree_out


def test_mesh_7_a_full_mesh_refuses_strangers_and_takes_in_the_dialled_and_the_wanted() -> None:
    one = One()
    crowd(one, 12)
    one.peer("late")
    one.says("late", Rpc(graft=(Graft(TXS),)))
    assert "late" not in one.router.mesh(TXS)
    assert one.sent("late").prune == (Prune(TXS, (), 15),)
    one.member("dialled", outbound=True)
    one.router.wants("wanted", True)
    one.member("wanted")
    assert len(one.router.mesh(TXS)) == 14


@pytest.mark.parametrize(("median", "score", "taken"), [(2.9, 3.0, True), (2.9, 2.95, False), (3.0, 5.0, False)])
def test_mesh_7_a_full_but_poor_mesh_takes_in_a_good_stranger_for_its_worst(
    median: float, score: float, taken: bool,
) -> None:
    one = One(few(thresholds=Thresholds(opportunistic_graft=3.0)))
    one.router.app_score(one.member("dialled", outbound=True), 0.1)
    for name in crowd(one, PARAMS.degree_high - 1):
        one.router.app_score(name, median)
    one.router.app_score("i05", 1.2)
    one.router.app_score(one.peer("s"), score)
    one.says("s", Rpc(graft=(Graft(TXS),)))
    mesh = one.router.mesh(TXS)
    assert (len(mesh), "dialled" in mesh) == (PARAMS.degree_high, True)
    assert ("s" in mesh, "i05" in mesh) == (taken, not taken)
    assert [bool(one.sent(name).prune) for name in ("s", "i05")] == [not taken, taken]


def test_mesh_7_a_graft_for_a_topic_that_we_are_not_on_is_not_answered() -> None:
    one = One()
    one.peer("p", ADVERTS)
    one.says("p", Rpc(graft=(Graft(ADVERTS), Graft("/unknown"))))
    assert one.sent("p") == Rpc()
    assert one.router.score("p") == 0


def test_mesh_7_a_negative_score_is_refused_and_a_second_graft_changes_nothing() -> None:
    one = One()
    one.peer("bad")
    one.router.app_score("bad", -1)
    one.says("bad", Rpc(graft=(Graft(TXS),)))
    assert one.router.mesh(TXS) == ()
    assert one.sent("bad").prune == (Prune(TXS, (), 60),)
    one.member("good")
    one.says("good", Rpc(graft=(Graft(TXS),)))
    assert one.router.mesh(TXS) == ("good",)
    assert one.sent("good") == Rpc()


def test_mesh_8_a_graft_within_the_back_off_costs_and_is_refused_and_prolongs_it() -> None:
    one = One(few(graft_flood_s=0.0))
    one.member("p")
    one.router.app_score("p", -1)
    one.beat()
    one.router.app_score("p", 100)
    one.sent("p")
    one.now += 59
    one.says("p", Rpc(graft=(Graft(TXS),)))
    assert one.router.mesh(TXS) == ()
    assert one.router.score("p") == pytest.approx(90)
    assert one.sent("p").prune == (Prune(TXS, (), 60),)
    one.now += 59
    one.says("p", Rpc(graft=(Graft(TXS),)))
    assert one.router.mesh(TXS) == (), "a minute from the second PRUNE on"
    one.now += 61
    one.says("p", Rpc(graft=(Graft(TXS),)))
    assert one.router.mesh(TXS) == ("p",)


def test_mesh_8_a_graft_right_after_the_prune_costs_twice() -> None:
    costs = []
    for wait in (1, 20):
        one = One()
        one.member("p")
        one.router.app_score("p", -1)
        one.beat()
        one.now += wait
        one.says("p", Rpc(graft=(Graft(TXS),)))
        costs.append(one.router.score("p"))
    assert costs == [-41, -11]  # the square of the behaviour counter, and one of the application


def test_mesh_8_the_back_off_outlives_the_connection() -> None:
    one = One()
    one.member("p")
    one.says("p", Rpc(prune=(Prune(TXS, (), 30),)))
    one.router.remove_peer("p", one.now)
    one.peer("p")
    one.beat(30)
    assert one.router.mesh(TXS) == ()
    one.beat(2)
    assert one.router.mesh(TXS) == ("p",)


@pytest.mark.parametrize(("said", "held"), [(0, 60), (5, 5), (10**12, MAX_PRUNE_BACKOFF_S)])
def test_mesh_9_a_prune_ends_membership_and_its_back_off_holds(said: int, held: int) -> None:
    one = One()
    one.member("p")
    one.says("p", Rpc(prune=(Prune(TXS, (), said),)))
    assert one.router.mesh(TXS) == ()
    assert one.sent("p") == Rpc(), "a PRUNE is not answered"
    one.beat(held)
    assert one.router.mesh(TXS) == ()
    one.beat()
    assert one.router.mesh(TXS) == ("p",)
    assert one.sent("p").graft == (Graft(TXS),)


def test_mesh_9_a_prune_from_outside_the_mesh_holds_too_and_a_shorter_one_shortens_nothing() -> None:
    one = One()
    one.peer("p")
    one.says("p", Rpc(prune=(Prune(TXS, (), 20),)))
    one.says("p", Rpc(prune=(Prune(TXS, (), 1),)))
    one.beat(20)
    assert one.router.mesh(TXS) == ()
    one.beat()
    assert one.router.mesh(TXS) == ("p",)


def test_mesh_9_who_unsubscribes_or_leaves_is_in_no_mesh() -> None:
    one = One()
    one.member("p")
    one.member("q")
    one.says("p", Rpc(subscriptions=(Subscription(TXS, False),)))
    assert one.router.mesh(TXS) == ("q",)
    one.router.remove_peer("q", one.now)
    assert one.router.mesh(TXS) == ()
    one.beat()
    assert one.router.mesh(TXS) == ()
    assert one.says("q", Rpc(messages=(Message(TXS, b"late"),))) == [], "it is no neighbour"


@pytest.mark.parametrize(("median", "more"), [(0.5, 2), (1.5, 0)])
def test_mesh_10_a_mesh_with_a_low_median_takes_in_better_peers_now_and_then(median: float, more: int) -> None:
    one = One(few(opportunistic_graft_ticks=5, thresholds=Thresholds(opportunistic_graft=1.0)))
    for i in range(6):
        one.member(f"m{i}", outbound=True)
        one.router.app_score(f"m{i}", median)
    better = one.peers(4, first="better")
    for name in better:
        one.router.app_score(name, 3)
    one.router.app_score(one.peer("same"), median)
    one.beat(4)
    assert len(one.router.mesh(TXS)) == 6
    one.beat()
    assert len(set(one.router.mesh(TXS)) & set(better)) == more
    assert len(one.router.mesh(TXS)) == 6 + more


def test_mesh_11_opportunistic_grafting_of_a_full_mesh_replaces_the_worst_strangers() -> None:
    one = One(few(opportunistic_graft_ticks=5, thresholds=Thresholds(opportunistic_graft=9.0)))
    members = crowd(one, PARAMS.degree_high)
    for i, name in enumerate(members):
        one.router.app_score(name, i)
    better = one.peers(4, first="better")
    for name in better:
        one.router.app_score(name, 30)
    one.beat(6)
    mesh = set(one.router.mesh(TXS))
    assert len(mesh) == PARAMS.degree_high
    assert len(mesh & set(better)) == 2
    assert set(members) - mesh == set(members[:2])
