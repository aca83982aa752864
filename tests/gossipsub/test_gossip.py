"""GOSSIP-1 to GOSSIP-8: IHAVE, IWANT, promises, IDONTWANT."""

from __future__ import annotations

from random import Random

from p2p.base.limits import BUDGETS, MAX_ASKED, MAX_CONTROL_TOPICS, MAX_MESSAGE_IDS, MAX_OFFERERS, MAX_PROMISES
from p2p.base.outcome import Outcome
from p2p.gossipsub.asked import Asked
from p2p.gossipsub.message_cache import MessageCache
from p2p.gossipsub.outbound import item_of
from p2p.gossipsub.promises import Promises
from p2p.gossipsub.rpc import Graft, IDontWant, IHave, IWant, Message, Prune, Rpc, Version, message_id
from tests.gossipsub.net import ADVERTS, PARAMS, TXS, VOTES, One, few


def ids(first: int, number: int) -> tuple[bytes, ...]:
    return tuple((first + i).to_bytes(20, "big") for i in range(number))


def outsider(one: One, name: str) -> str:
    """A neighbour outside the mesh that has been there for a while."""
    one.peer(name)
    one.says(name, Rpc(prune=(Prune(TXS, (), 60),)))
    return name


def settled(number: int) -> tuple[One, list[str], list[str]]:
    """A router with a mesh of six, and so many neighbours outside; all have been there for a while."""
    one = One()
    members = [one.member(f"m{i}") for i in range(6)]
    others = [outsider(one, f"p{i:02}") for i in range(number)]
    one.beat(3)
    for name in (*members, *others):
        one.sent(name)
    return one, members, others


def test_gossip_1_peers_outside_the_mesh_hear_which_messages_came_lately() -> None:
    one, members, others = settled(3)
    ids_ = [one.router.publish(VOTES, b"unheard of", one.now)]
    ids_ = [one.accepts("m0", b"1"), one.router.publish(TXS, b"2", one.now)]
    for name in (*members, *others):
        one.sent(name)
    for _ in range(3):
        one.beat()
        assert all(one.sent(name) == Rpc(ihave=(IHave(TXS, tuple(ids_)),)) for name in others)
        assert all(one.sent(name) == Rpc() for name in members)
    one.beat()
    assert all(one.sent(name) == Rpc() for name in others), "three heartbeats only"


def test_gossip_1_so_many_are_told() -> None:
    for size, told in ((5, 5), (12, 6), (40, 10)):  # all; D_lazy; a quarter
        one, _, others = settled(size)
        one.accepts("m0", b"x")
        one.beat()
        assert sum(bool(one.sent(name).ihave) for name in others) == told


def test_gossip_1_some_that_we_dialled_are_always_told() -> None:
    one, _, others = settled(100)
    dialled = others[:8]
    for name in dialled:
        one.router.add_peer(name, version=Version.V1_2, outbound=True, group="", now=one.now)
    one.beat(3)  # a new stream hears of the latest messages
    told = dict.fromkeys(others, 0)
    for beat in range(40):
        one.accepts("m0", str(beat).encode())
        one.beat()
        here = [name for name in others if one.sent(name).ihave]
        assert len(here) == 25
        assert sum(name in here for name in dialled) >= 3
        for name in here:
            told[name] += 1
    assert min(told.values()) > 0
    assert sum(told[name] for name in dialled) / 8 > 1.2 * sum(told.values()) / 100


def test_gossip_1_nobody_below_the_threshold_is_told() -> None:
    one, _, others = settled(2)
    one.router.app_score(others[0], -10.1)
    one.router.app_score(others[1], -10)
    one.accepts("m0", b"x")
    one.beat()
    assert [bool(one.sent(name).ihave) for name in others] == [False, True]


def test_gossip_1_one_ihave_names_at_most_so_many() -> None:
    one, _, others = settled(1)
    for i in range(MAX_MESSAGE_IDS + 10):
        one.router.publish(TXS, str(i).encode(), one.now)
    one.beat()
    (have,) = one.sent(others[0]).ihave
    assert len(set(have.ids)) == MAX_MESSAGE_IDS


def test_gossip_2_a_member_that_is_new_hears_of_what_it_missed() -> None:
    one = One()
    id_ = one.router.publish(TXS, b"x", one.now)
    one.member("late")
    one.beat()
    assert one.sent("late").ihave == (IHave(TXS, (id_,)),)
    one.beat(3)
    one.sent("late")
    one.router.publish(TXS, b"y", one.now)
    one.sent("late")
    one.beat()
    assert one.sent("late") == Rpc()


def test_gossip_2_who_enters_the_mesh_hears_of_what_came_before() -> None:
    one, _, (other,) = settled(1)
    one.now += 100
    id_ = one.accepts("m0", b"x")
    one.says(other, Rpc(graft=(Graft(TXS),)))
    assert other in one.router.mesh(TXS)
    one.beat()
    assert one.sent(other).ihave == (IHave(TXS, (id_,)),)
    one.beat(5)
    one.accepts("m0", b"y")
    one.sent(other)
    one.beat()
    assert one.sent(other) == Rpc()


def test_gossip_2_a_member_with_a_new_stream_hears_of_what_was_on_its_way() -> None:
    one, members, _ = settled(0)
    id_ = one.router.publish(TXS, b"x", one.now)
    for name in members:
        one.sent(name)
    one.peer("m0", quiet=False)
    one.beat()
    assert one.sent("m0").ihave == (IHave(TXS, (id_,)),)
    assert one.sent("m1") == Rpc()


def test_gossip_2_a_member_whose_queue_lost_something_hears_of_it() -> None:
    one, members, _ = settled(0)
    for i in range(40):
        one.router.publish(TXS, str(i).encode() + bytes(1 << 17), one.now)
    assert one.router.status()["shed"]["transactions"] > 0
    for name in members:
        one.sent(name)
    one.beat()
    assert one.sent("m0") == Rpc(), "what is shed shows at the heartbeat"
    one.beat()
    assert len(one.sent("m0").ihave[0].ids) == 40


def test_gossip_3_who_does_not_bring_what_it_offered_is_penalised() -> None:
    one = One()
    for name in ("liar", "honest", "other"):
        one.peer(name)
    kept = message_id(TXS, b"kept")
    one.says("liar", Rpc(ihave=(IHave(TXS, ids(0, 50)),)))
    one.says("honest", Rpc(ihave=(IHave(TXS, (kept,)),)))
    assert one.router.status()["promises"] == 2, "one id of each"
    one.beat(2)
    one.accepts("other", b"kept")
    one.beat()
    assert one.router.score("liar") == -10
    assert one.router.score("honest") == 0
    one.beat()
    assert one.router.status()["promises"] == 0


def test_gossip_3_a_message_that_is_ignored_or_rejected_has_come_too() -> None:
    for outcome in (Outcome.IGNORE, Outcome.REJECT):
        one = One()
        one.peer("p")
        one.peer("offers")
        one.says("offers", Rpc(ihave=(IHave(TXS, (message_id(TXS, b"x"),)),)))
        (delivery,) = one.brings("p", b"x")
        one.router.judge(delivery.id, outcome, one.now)
        one.beat(4)
        assert one.router.score("offers") == 0


def test_gossip_3_nobody_is_penalised_for_a_message_that_we_publish_ourselves() -> None:
    one = One()
    one.peer("p")
    one.says("p", Rpc(ihave=(IHave(TXS, (message_id(TXS, b"x"),)),)))
    one.router.publish(TXS, b"x", one.now)
    one.beat(4)
    assert one.router.score("p") == 0


def test_gossip_4_what_is_new_is_asked_for() -> None:
    one = One()
    for name in ("p", "q", "r"):
        one.peer(name)
    had = one.accepts("p", b"x")
    (judged,) = one.brings("p", b"y")
    (bad,) = one.brings("p", b"z")
    one.router.judge(bad.id, Outcome.REJECT, one.now)
    (unclear,) = one.brings("q", b"u")
    one.router.judge(unclear.id, Outcome.IGNORE, one.now)
    short, new = b"short", ids(7, 1)[0]
    offer = (had, judged.id, bad.id, unclear.id, short, new, new)
    one.says("q", Rpc(ihave=(IHave(TXS, offer), IHave(TXS, (new,)), IHave(ADVERTS, ids(9, 1)))))
    assert one.sent("q") == Rpc(iwant=(IWant((new,)),))
    one.says("r", Rpc(ihave=(IHave(TXS, offer),)))
    assert one.sent("r") == Rpc(iwant=(IWant((unclear.id, new)),)), "it ignored nothing of this one"


def test_gossip_4_offers_are_capped_in_number_between_two_heartbeats() -> None:
    one = One()
    one.peer("p")
    for i in range(12):
        one.says("p", Rpc(ihave=(IHave(TXS, ids(i, 1)),)))
    assert sum(len(want.ids) for want in one.sent("p").iwant) == 10
    one.beat()
    one.says("p", Rpc(ihave=(IHave(TXS, ids(20, 1)),)))
    assert len(one.sent("p").iwant) == 1


def test_gossip_4_so_many_ids_are_asked_of_one_peer() -> None:
    one = One(few(max_ihave_length=2500))
    one.peer("p")
    for i in range(3):
        one.says("p", Rpc(ihave=(IHave(TXS, ids(10_000 * i, 2000)),)))
        wanted = sum(len(want.ids) for want in one.sent("p").iwant)
        assert wanted == (2000, 500, 0)[i]
    one.beat()
    one.says("p", Rpc(ihave=(IHave(TXS, ids(10**6, 2500)),)))
    assert sum(len(want.ids) for want in one.sent("p").iwant) == MAX_MESSAGE_IDS, "of these some again"
    one = One()
    one.peer("p")
    one.says("p", Rpc(ihave=(IHave(TXS, ids(10**6, MAX_MESSAGE_IDS + 100)),)))
    assert sum(len(want.ids) for want in one.sent("p").iwant) == MAX_MESSAGE_IDS
    one = One()
    one.peer("p")
    one.says("p", Rpc(ihave=tuple(IHave(TXS, ids(10**7 + i, 1)) for i in range(MAX_CONTROL_TOPICS + 5))))
    assert sum(len(want.ids) for want in one.sent("p").iwant) == MAX_CONTROL_TOPICS


def wants(one: One, name: str) -> tuple[bytes, ...]:
    """What a neighbour is asked for."""
    return tuple(id_ for want in one.sent(name).iwant for id_ in want.ids)


def test_gossip_9_what_does_not_come_is_asked_for_again_of_two_that_offered_it() -> None:
    one = One()
    names = one.peers(4)
    offer = Rpc(ihave=(IHave(TXS, ids(0, 1)),))
    for name in names[:3]:
        one.says(name, offer)
        assert wants(one, name) == ids(0, 1)
    for _ in range(PARAMS.history_length):
        one.beat()
        again = [name for name in names if wants(one, name) == ids(0, 1)]
        assert len(again) == 2
        assert names[3] not in again
    one.beat()
    assert not any(wants(one, name) for name in names), "then it is given up"


def test_gossip_9_what_came_or_was_asked_for_just_now_is_not_asked_for_again() -> None:
    one = One()
    one.peers(2)
    for data in (b"accepted", b"ignored"):
        one.says("p00", Rpc(ihave=(IHave(TXS, (message_id(TXS, data),)),)))
    one.accepts("p01", b"accepted")
    (delivery,) = one.brings("p01", b"ignored")
    one.router.judge(delivery.id, Outcome.IGNORE, one.now)
    one.sent("p00")
    one.now += 0.6
    one.says("p00", Rpc(ihave=(IHave(TXS, ids(7, 1)),)))
    assert wants(one, "p00") == ids(7, 1)
    one.now -= 0.6
    one.beat()
    assert wants(one, "p00") == ()
    one.beat()
    assert wants(one, "p00") == ids(7, 1)


def test_gossip_9_who_is_gone_or_below_the_threshold_or_at_its_cap_is_not_asked_again() -> None:
    one = One(few(max_ihave_length=1))
    one.peers(3)
    for name in ("p00", "p01"):
        one.says(name, Rpc(ihave=(IHave(TXS, ids(0, 1)),)))
    one.says("p02", Rpc(ihave=(IHave(TXS, ids(1, 1)),)))
    one.beat()
    one.says("p02", Rpc(ihave=(IHave(TXS, ids(2, 1)),)))
    one.router.remove_peer("p00", one.now)
    one.router.app_score("p01", -11)
    for name in ("p01", "p02"):
        one.sent(name)
    one.beat()
    assert wants(one, "p01") == ()
    assert len(wants(one, "p02")) == 1


def test_gossip_9_what_is_asked_again_is_bounded() -> None:
    asked = Asked(2)
    for i in range(MAX_ASKED + 5):
        asked.ask(str(i).encode(), "p", 0.0)
    for i in range(MAX_OFFERERS + 5):
        asked.ask(b"0", f"p{i}", 0.0)
    (first, *_) = overdue = asked.overdue(1.0)
    assert (len(overdue), len(first[1])) == (MAX_ASKED, MAX_OFFERERS)
    asked.overdue(1.0)
    assert len(asked) == 0


def test_gossip_4_nothing_is_asked_of_a_peer_below_the_threshold() -> None:
    one = One()
    one.peer("p")
    one.router.app_score("p", -10.1)
    one.says("p", Rpc(ihave=(IHave(TXS, ids(0, 1)),)))
    assert one.sent("p") == Rpc()


def test_gossip_5_a_message_is_sent_to_who_asks_so_often_and_while_it_is_kept() -> None:
    one = One()
    one.peer("source")
    for name in ("p", "q"):
        one.peer(name)
    id_ = one.accepts("source", b"x")
    one.sent("p")
    want = Rpc(iwant=(IWant((id_, id_, ids(0, 1)[0])),))
    for answered in (True, True, True, False):
        one.says("p", want)
        assert one.told("p") == [b"x"] * answered
    one.says("q", want)
    assert one.told("q") == [b"x"]
    one.router.app_score("q", -10.1)
    one.says("q", want)
    assert one.told("q") == []
    one.router.app_score("q", 0)
    one.beat(4)
    one.sent("q")
    one.says("q", want)
    assert one.told("q") == [b"x"]
    one.beat()
    one.says("q", want)
    assert one.told("q") == [], "five heartbeats"


def test_gossip_5_answers_are_bounded_in_bytes_for_a_peer_a_group_and_all() -> None:
    budget = BUDGETS["wanted bytes"]
    one = One()
    size = 1 << 18
    ids_ = [one.router.publish(TXS, bytes([i]) + bytes(size - 1000), one.now) for i in range(20)]

    def answered(name: str, group: str, *, wanted: bool = False) -> int:
        one.router.wants(name, wanted)
        one.peer(name, VOTES, group=group)
        one.says(name, Rpc(iwant=(IWant(tuple(ids_)),)))
        return sum(len(message.data) for message in one.sent(name).messages)

    assert budget.peer - size < answered("a0", "a") <= budget.peer
    assert budget.peer - size < answered("a1", "a") <= budget.group - budget.peer + size
    assert answered("a2", "a") == 0, "its group has had its part"
    assert answered("aw", "a", wanted=True) > 0, "a wanted peer has its own"
    while answered(f"b{len(one.router.due())}{one.now}", f"b{one.now}"):
        one.now += 0.001
    total = 0
    one.beat()
    for i in range(20):
        total += answered(f"c{i}", f"c{i}")
    assert budget.total - size < total <= budget.total


def test_gossip_5_so_many_ids_are_looked_up() -> None:
    one = One()
    one.peer("p")
    id_ = one.router.publish(TXS, b"x", one.now)
    one.sent("p")
    one.says("p", Rpc(iwant=(IWant(ids(0, 2000)), IWant(ids(10_000, 100)), IWant((id_,)))))
    assert one.told("p") == []
    one.says("p", Rpc(iwant=(IWant((id_,)),)))
    assert one.told("p") == [b"x"]
    one.says("p", Rpc(iwant=(IWant(ids(0, 2000)), IWant(ids(10_000, 2000)))))
    one.says("p", Rpc(iwant=(IWant((id_,)),)))
    assert one.told("p") == [], "more than it may ask for between two heartbeats"
    one.beat()
    one.says("p", Rpc(iwant=(IWant((id_,)),)))
    assert one.told("p") == [b"x"]


def test_gossip_6_what_a_neighbour_does_not_want_is_not_sent_for_some_heartbeats() -> None:
    one = One()
    one.member("m")
    one.peer("p")
    one.says("m", Rpc(idontwant=(IDontWant((message_id(TXS, b"x"), b"short")),)))
    one.accepts("p", b"x")
    one.accepts("p", b"y")
    assert one.told("m") == [b"y"]
    one.beat(3)
    one.router.publish(TXS, b"x", one.now)
    assert one.told("m") == [b"x"]


def test_gossip_6_it_counts_for_what_waits_already() -> None:
    one = One()
    one.member("m")
    one.router.publish(TXS, b"x", one.now)
    one.says("m", Rpc(idontwant=(IDontWant((message_id(TXS, b"x"),)),)))
    assert one.told("m") == []


def test_gossip_6_so_many_are_remembered() -> None:
    one = One(few(max_idontwant_messages=2))
    one.member("m")
    wanted = [message_id(TXS, bytes([i])) for i in range(4)]
    one.says("m", Rpc(idontwant=(IDontWant((wanted[0],)), IDontWant((wanted[1], wanted[2])))))
    one.says("m", Rpc(idontwant=(IDontWant((wanted[3],)),)))
    for i in range(4):
        one.router.publish(TXS, bytes([i]), one.now)
    assert one.told("m") == [b"\x02", b"\x03"]


def test_gossip_7_a_large_message_is_no_longer_wanted_from_the_mesh_before_it_is_judged() -> None:
    one = One()
    one.member("new")
    one.member("source")
    one.peer("old", version=Version.V1_1)
    one.says("old", Rpc(graft=()))
    one.peer("outside")
    one.brings("source", bytes(1023))
    assert one.sent("new") == Rpc()
    (delivery,) = one.brings("source", bytes(1024))
    assert one.sent("new") == Rpc(idontwant=(IDontWant((delivery.id,)),))
    assert [one.sent(name) for name in ("source", "old", "outside")] == [Rpc()] * 3


def test_gossip_7_it_leaves_before_large_messages_and_together_with_small_ones() -> None:
    for size, together in ((2000, True), (9000, False)):
        one = One()
        one.member("new")
        one.member("source")
        id_ = one.accepts("source", bytes(size))
        rpc = one.router.take("new", 1 << 20)
        assert rpc is not None
        assert rpc.idontwant == (IDontWant((id_,)),)
        assert len(rpc.messages) == together
        assert len(one.told("new")) == 1 - together


def test_gossip_8_the_cache_keeps_so_many_heartbeats_and_bytes() -> None:
    cache = MessageCache(3)
    items = [item_of(bytes([i]), Message(TXS, bytes([i]) * (1 << 20))) for i in range(40)]
    cache.put(items[0])
    cache.put(items[0])
    assert (len(cache), cache.bytes) == (1, items[0][2])
    cache.shift()
    cache.put(items[1])
    assert cache.recent(1) == {TXS: [items[1][0]]}
    assert cache.recent(2) == {TXS: [items[1][0], items[0][0]]}
    for item in items[2:]:
        cache.put(item)
    assert len(cache) == 31
    assert cache.get(items[8][0]) is None
    assert cache.get(items[9][0]) is items[9]
    for _ in range(3):
        cache.shift()
    assert (len(cache), cache.bytes, cache.recent(3)) == (0, 0, {})


def test_gossip_8_transmissions_are_counted_for_each_peer_until_the_message_goes() -> None:
    cache = MessageCache(1)
    item = item_of(b"a", Message(TXS, b"x"))
    cache.put(item)
    assert [cache.may_send(b"a", "p", 2) for _ in range(3)] == [True, True, False]
    assert cache.may_send(b"a", "q", 2)
    cache.shift()
    cache.put(item)
    assert cache.may_send(b"a", "p", 2)


def test_promises_are_bounded_and_a_second_one_keeps_the_first_ones_time() -> None:
    promises, rng = Promises(), Random(1)
    promises.make("p", b"a", 10)
    promises.make("p", b"a", 20)
    promises.make("q", b"a", 12)
    assert promises.broken(10) == {"p": 1}
    promises.make("p", b"a", 30)
    promises.kept(b"a")
    promises.make("p", b"a", 40)
    assert promises.broken(39) == {}, "neither q's nor the first of p"
    assert promises.broken(40) == {"p": 1}
    for _ in range(MAX_PROMISES + 100):
        promises.make("p", rng.randbytes(20), 50)
    assert len(promises) == MAX_PROMISES
    assert promises.broken(50) == {"p": MAX_PROMISES}
    assert len(promises) == 0
