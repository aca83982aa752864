"""Which connections a peer chooses, and how it paces them: properties, and a simulated network that starts at once."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.base.keys import Key
from p2p.base.limits import (
    ANCHOR_AGE_S,
    BUDGETS,
    DIALS_A_SECOND,
    DIALS_AT_ONCE,
    DIALS_BURST,
    MAX_ANCHORS,
    MAX_CONNECTIONS,
    PARTNER_TURN_S,
    WIDE_PLACES,
)
from p2p.gossip.connections.budget import Budgets, Held, first_to_go, group_of, wide_group, wide_of
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.pace import Backoff, Bucket, is_first, share, shortened
from p2p.gossip.discovery import slots
from p2p.gossip.discovery.book import AddressBook, Rank

PEERS = [Key(number.to_bytes(32, "big")).peer_id for number in range(48)]


def held(peer: str, host: str = "8.8.8.8", since: float = 0.0, *, out: bool = False, greeted: bool = True) -> Held:
    return Held(peer, group_of(host), since, greeted, out, out)


# -- groups (GROUP-2)


@given(st.ip_addresses())
def test_a_wide_group_contains_its_groups_and_exempts_what_is_near(address: object) -> None:
    host = str(address)
    assert wide_of(group_of(host)) in (wide_group(host), "")
    near = address.is_loopback  # type: ignore[attr-defined]
    assert not (near and wide_group(host))


@pytest.mark.parametrize(("host", "wide"), [
    ("8.8.4.4", "8.8.0.0/16"), ("2001:4860:4860::8888", "2001:4860::/32"), ("::ffff:8.8.4.4", "8.8.0.0/16"),
    ("127.0.0.1", ""), ("127.9.9.9", ""), ("10.1.2.3", ""), ("192.168.0.1", ""), ("172.16.0.1", ""), ("100.64.0.1", ""),
    ("fd00::1", ""), ("::1", ""), (None, ""), ("nonsense", ""),
])
def test_wide_groups(host: str | None, wide: str) -> None:
    assert wide_group(host) == wide


# -- eclipse (SLOT-1 to SLOT-3)


def test_whoever_dials_us_does_not_change_our_own_slots() -> None:
    inbound = [held(f"sybil{number}", f"9.{number}.1.1") for number in range(100)]
    ours = [held("a", "1.1.1.1", 5.0, out=True), held("b", "1.2.1.1", 3.0, out=True)]
    ours += [held("c", out=True, greeted=False)]
    assert [one.peer for one in slots.own(inbound + ours)] == ["b", "a"]
    assert slots.groups_taken(inbound + ours) == {"1.1.0.0/16", "1.2.0.0/16", "8.8.0.0/16"}
    assert slots.anchors(inbound + ours, ANCHOR_AGE_S + 4.0) == ("b",)
    assert len(slots.anchors(inbound + ours * 2, ANCHOR_AGE_S + 9.0)) == MAX_ANCHORS


async def test_one_operator_with_256_networks_is_one_group_at_the_door() -> None:
    """Before: each of its /24s was a group of its own, so "the only one of a group stays" kept all of them, and no
    honest newcomer found a place."""
    door, present = Door(Budgets()), list[Held]()
    door.connections = lambda: present
    for number in range(256):
        host = f"9.9.{number}.1"
        if door.room_for(f"sybil{number}", group_of(host))[0]:
            present.append(held(f"sybil{number}", host, float(number)))
    assert len(present) == WIDE_PLACES
    places = MAX_CONNECTIONS - MAX_CONNECTIONS // 4
    present += [held(f"honest{n}", f"{20 + n}.1.1.1") for n in range(places - WIDE_PLACES)]
    goes = first_to_go(present, 1000.0, 15.0)
    assert goes is not None
    assert goes.peer == f"sybil{WIDE_PLACES - 1}"
    assert door.room_for("newcomer", group_of("99.1.1.1")) == (True, goes.peer)
    present[:] = [held(f"near{n}", f"192.168.1.{n}") for n in range(WIDE_PLACES)]
    assert door.room_for("more", group_of("192.168.1.99"))[0], "a private network has the places of a group"
    present[:] = [held(f"near{n}", f"192.168.1.{n}") for n in range(BUDGETS["connections"].group)]
    assert not door.room_for("more", group_of("192.168.1.99"))[0]


# -- partners (SLOT-4)


@given(st.sampled_from(PEERS), st.sampled_from(PEERS))
def test_of_two_peers_one_dials_first(one: str, other: str) -> None:
    if one != other:
        assert is_first(one, other) is not is_first(other, one)


def test_each_is_first_for_about_half_of_the_others() -> None:
    for me in PEERS:
        assert 12 <= sum(is_first(me, other) for other in PEERS if other != me) <= 35


@given(st.lists(st.tuples(st.sets(st.sampled_from(PEERS[:8])), st.sets(st.sampled_from(PEERS[:8])), st.floats(0, 9))))
def test_a_missing_partner_is_due_at_the_latest_after_its_turn(
    steps: list[tuple[set[str], set[str], float]]
) -> None:
    me, partners, since, now = PEERS[0], slots.Partners(PEERS[0]), dict[str, float](), 0.0
    for wanted, linked, passed in steps:
        now += passed
        gone = partners.missing(wanted, linked, now)
        assert gone == wanted - linked - {me}
        since = {peer: since.get(peer, now) for peer in gone}
        assert partners.due(now) == {p for p in gone if is_first(me, p) or now - since[p] >= PARTNER_TURN_S}


# -- pace (PACE-1, PACE-2)


@given(st.lists(st.floats(0, 3), max_size=200))
@example([3.0, 2.5, 2.5, 2.7074079087575704, 2.8416534583681674, 2.025, 0.0, 0.0, 0.0])
def test_a_bucket_gives_its_rate_and_its_burst(steps: list[float]) -> None:
    bucket, now, taken = Bucket(DIALS_A_SECOND, DIALS_BURST), 0.0, 0
    for passed in steps:
        now += passed
        taken += bucket.take(now)
        assert taken <= DIALS_BURST + DIALS_A_SECOND * now + 1e-6
    assert bucket.take(now + 1 / DIALS_A_SECOND), "who waits gets one"


def test_a_wait_is_shortened_by_half_at_most_and_the_same_each_time() -> None:
    waits = [shortened(10.0, "me", peer, 3) for peer in PEERS]
    assert waits == [shortened(10.0, "me", peer, 3) for peer in PEERS]
    assert all(5.0 <= wait <= 10.0 for wait in waits)
    assert max(waits) - min(waits) > 3.0, "two peers that lost the same one do not dial it in step"


def test_a_backoff_doubles_while_nothing_changes() -> None:
    wait = Backoff(1.0, 60.0)
    assert [wait.next_s("a") for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [wait.next_s("b"), wait.next_s("b"), wait.next_s("a")] == [1, 2, 1]


# -- all of it together: a network that starts at once, without sockets


class Node:
    """FAKE: a peer with the real book, partners and bucket; a dial takes a second and always succeeds."""

    def __init__(self, number: int) -> None:
        self.me, self.linked, self.dialling = PEERS[number], set[str](), dict[str, float]()
        self.book, self.partners = AddressBook(self.me), slots.Partners(self.me)
        self.bucket, self.dials, self.wasted = Bucket(DIALS_A_SECOND, DIALS_BURST), 0, 0
        self.starts = 1.0 + share(self.me, "start")

    def dial(self, now: float, everybody: list[str]) -> None:
        self.partners.missing(everybody, self.linked, now)
        due = self.book.to_dial(
            self.linked | {self.me}, now, wanted=0, busy=tuple(self.dialling), slots=DIALS_AT_ONCE - len(self.dialling),
            needed=self.partners.due(now), company=bool(self.linked),
        )
        for peer in due:
            if self.bucket.take(now):
                self.dials += 1
                self.dialling[peer] = now + 1.0


def start(count: int, seconds: int, seed: int) -> tuple[list[Node], list[int]]:
    """Peers that know one bootstrap address and tell each other 32 of those they are connected to, as a greeting does.
    Returns them, and how many dials each second began."""
    rng, nodes = random.Random(seed), {PEERS[n]: Node(n) for n in range(count)}
    everybody, began = PEERS[:count], list[int]()
    for node in list(nodes.values())[1:]:
        node.book.learn(PEERS[0], ["/ip4/127.0.0.1/tcp/7000"], Rank.REACHED)
    for tick in range(seconds * 2):
        now, before = tick / 2, sum(node.dials for node in nodes.values())
        for node in nodes.values():
            for peer in [p for p, end in node.dialling.items() if end <= now]:
                del node.dialling[peer]
                other = nodes[peer]
                node.wasted += peer in node.linked
                node.linked.add(peer)
                other.linked.add(node.me)
                node.book.dialled(peer, True, now)
                other.book.learn(node.me, ["/ip4/127.0.0.1/tcp/7000"], Rank.TOLD)
                for told in rng.sample(sorted(other.linked), min(32, len(other.linked))):
                    node.book.learn(told, ["/ip4/127.0.0.1/tcp/7000"], source=peer)
            if now >= node.starts:
                node.dial(now, everybody)
        began.append(sum(node.dials for node in nodes.values()) - before)
    return list(nodes.values()), began


@pytest.mark.parametrize("count", [8, 24, 48])
def test_validators_that_start_at_once_find_each_other_without_a_storm(count: int) -> None:
    """All of 48 are connected within a minute, hardly a dial is made twice, and at no time do more begin than the
    buckets give."""
    nodes, began = start(count, 60, seed=count)
    assert all(len(node.linked) == count - 1 for node in nodes)
    links = count * (count - 1) // 2
    assert sum(node.dials for node in nodes) <= links * 1.1 + count
    assert sum(node.wasted for node in nodes) <= links * 0.1 + count
    first = next(at for at in range(len(began)) if sum(began[:at]) >= links)
    assert first / 2 <= 30.0 + PARTNER_TURN_S
    assert max(began) <= count * (DIALS_BURST + DIALS_A_SECOND)
