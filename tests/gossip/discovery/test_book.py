"""The address book against peers that fill it: hearsay never replaces what we saw ourselves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.keys import Key
from p2p.base.limits import (
    FORGET_FAILURES,
    FORGET_HEARSAY,
    FORGET_REACHED_S,
    FORGET_TOLD_S,
    MAX_ADDRESSES_PER_PEER,
    MAX_ANCHORS,
    MAX_BOOK_FILE,
    MAX_HEARSAY_PER_SOURCE,
    MAX_KNOWN_PEERS,
    MAX_KNOWN_PER_GROUP,
    MAX_PEERS_SHARED,
    REDIAL_FAR_S,
    REDIAL_MAX_S,
    REDIAL_PARTNER_S,
    STALE_FAILURES,
)
from p2p.gossip.connections.reach import HERE, NOWHERE, PUBLIC, DialPolicy, dialable, may_name, scope_of
from p2p.gossip.discovery.book import AddressBook, Rank, group_at
from p2p.gossip.discovery.book_file import dump, load
from p2p.gossip.discovery.finding import unknown

SEEN = [Key(bytes([number]) * 32).peer_id for number in range(1, 21)]


NOW, EPOCH = 1000.0, 1.7e9


def filled() -> AddressBook:
    book = AddressBook()
    for number, peer in enumerate(SEEN):
        book.learn(peer, [f"/ip4/8.8.8.{number}/tcp/7470"], Rank.REACHED if number % 2 else Rank.TOLD, now=NOW)
    return book


def far(number: int) -> list[str]:
    """An address in a wide group of its own."""
    return [f"/ip4/{64 + number // 256 % 32}.{number % 256}.9.9/tcp/1"]


def test_32_welcomes_of_invented_peers_evict_nobody() -> None:
    """Before: all honest addresses were gone, the bootstrap's too."""
    book = filled()
    for liar in range(40):
        for number in range(MAX_PEERS_SHARED * 32):
            book.learn(f"invented{liar}x{number}", far(number), source=f"liar{liar}")
    assert all(book.addresses(peer) for peer in SEEN)
    assert len(book) <= MAX_KNOWN_PEERS


NEWS = st.tuples(st.integers(0, 3), st.integers(0, 3000), st.sampled_from(list(Rank)))


@given(st.lists(NEWS, max_size=400), st.integers(0, 3))
def test_what_ranks_higher_is_never_driven_out(news: list[tuple[int, int, Rank]], extra: int) -> None:
    """BOOK-3, BOOK-4. The book is full of hearsay beforehand, so that each new entry has to replace one."""
    book = filled()
    for number in range(MAX_KNOWN_PEERS + extra):
        book.learn(f"old{number}", far(number), source=f"source{number // MAX_HEARSAY_PER_SOURCE}")
    for source, number, rank in news:
        before = {peer: book.rank(peer) for peer in SEEN}
        book.learn(f"new{number}", far(number + 7), rank, source=f"liar{source}")
        assert len(book) <= MAX_KNOWN_PEERS
        if rank is Rank.HEARSAY:
            assert {peer: book.rank(peer) for peer in SEEN} == before
    assert all(book.rank(peer) for peer in SEEN[1::2]), "reached ones outlive fewer news than there is hearsay"


def test_one_source_has_a_bounded_share() -> None:
    book = AddressBook()
    for number in range(MAX_HEARSAY_PER_SOURCE * 3):
        book.learn(f"invented{number}", far(number), source="liar")
    assert len(book) == MAX_HEARSAY_PER_SOURCE
    book.learn("another", ["/ip4/9.9.9.9/tcp/1"], source="somebody else")
    assert len(book) == MAX_HEARSAY_PER_SOURCE + 1


def test_hearsay_adds_nothing_to_what_a_peer_says_itself() -> None:
    book = filled()
    book.learn(SEEN[0], ["/ip4/6.6.6.6/tcp/6"], source="liar")
    assert book.addresses(SEEN[0]) == ("/ip4/8.8.8.0/tcp/7470",)
    book.learn(SEEN[0], ["/ip4/8.8.8.0/tcp/8000"], Rank.TOLD)
    assert book.addresses(SEEN[0])[0] == "/ip4/8.8.8.0/tcp/8000", "its own newest word comes first"


def test_the_file_has_what_was_seen_and_bears_any_damage() -> None:
    book = filled()
    book.learn("invented" * 5, ["/ip4/9.9.9.9/tcp/1"], source="liar")
    raw = dump(book, (), MAX_BOOK_FILE, EPOCH)
    again = AddressBook()
    assert load(again, raw, MAX_BOOK_FILE, EPOCH, NOW) == len(SEEN)
    assert list(again.entries()) == [row for row in book.entries() if row[1] is not Rank.HEARSAY]
    assert dump(again, (), MAX_BOOK_FILE, EPOCH) == raw
    assert len(dump(book, (), 300, EPOCH)) <= 300


def test_anchors_are_saved_first_and_dialled_first_once() -> None:
    """SLOT-3, BOOK-5."""
    anchors = (SEEN[4], SEEN[9])
    raw = dump(filled(), anchors, MAX_BOOK_FILE, EPOCH)
    assert {line.split()[2] for line in raw.decode().splitlines()[:2]} == set(anchors)
    assert {line.split()[2] for line in dump(filled(), anchors, 200, EPOCH).decode().splitlines()} <= set(anchors)
    again = AddressBook("me")
    load(again, raw, MAX_BOOK_FILE, EPOCH, NOW)
    assert set(again.anchors) == set(anchors)
    assert set(again.to_dial((), NOW, wanted=0)) == set(anchors), "even where no slot is empty"
    again.dialled(anchors[0], False, NOW)
    again.dialled(anchors[1], True, NOW)
    assert again.anchors == ()
    assert again.to_dial((), NOW + 100, wanted=0) == ()


def test_a_file_from_the_future_does_not_keep_anybody_for_ever() -> None:
    book = AddressBook()
    load(book, f"2 99999999999 {SEEN[0]} /ip4/8.8.8.8/tcp/1\n".encode(), MAX_BOOK_FILE, EPOCH, NOW)
    assert [seen for _, _, seen, _ in book.entries()] == [NOW]


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_a_book(noise: bytes, at: int) -> None:
    raw = dump(filled(), tuple(SEEN[:2]), MAX_BOOK_FILE, EPOCH)
    book = AddressBook()
    assert load(book, raw[:at] + noise + raw[at:], MAX_BOOK_FILE, EPOCH, NOW) >= len(SEEN) - len(noise) - 2
    assert len(book) <= MAX_KNOWN_PEERS
    assert len(book.anchors) <= MAX_ANCHORS


# -- who is forgotten (BOOK-6)


@pytest.mark.parametrize(("rank", "age_s", "failures"), [
    (Rank.HEARSAY, 0.0, FORGET_HEARSAY), (Rank.TOLD, FORGET_TOLD_S, FORGET_FAILURES),
    (Rank.REACHED, FORGET_REACHED_S, FORGET_FAILURES),
])
def test_a_peer_that_is_gone_is_forgotten_and_no_earlier(rank: Rank, age_s: float, failures: int) -> None:
    book = AddressBook()
    book.learn("gone", far(1), rank, now=0.0)
    for _ in range(failures * 3):
        book.dialled("gone", False, age_s + 1.0, company=False)
    assert len(book) == 1, "who is offline itself forgets nobody"
    for _ in range(failures - 1):
        book.dialled("gone", False, age_s + 1.0, company=True)
    assert len(book) == 1
    if age_s:
        book.dialled("gone", False, age_s - 1.0, company=True)
        assert len(book) == 1, "it was seen lately"
    book.dialled("gone", False, age_s + 1.0, company=True)
    assert (len(book), book.forgotten) == (0, 1)


def test_a_peer_that_answers_again_begins_anew() -> None:
    book = AddressBook()
    book.learn("back", far(1), Rank.REACHED, now=0.0)
    for _ in range(FORGET_FAILURES - 1):
        book.dialled("back", False, FORGET_REACHED_S + 1, company=True)
    book.dialled("back", True, FORGET_REACHED_S + 1)
    for _ in range(FORGET_FAILURES * 2):
        book.dialled("back", False, FORGET_REACHED_S + 2, company=True)
    assert len(book) == 1


STEPS = st.lists(st.tuples(st.sampled_from(["fail", "ok", "lost", "learn"]), st.integers(0, 5), st.booleans(),
                           st.floats(0, 3000)), max_size=80)


@given(STEPS)
def test_whatever_happens_a_known_peer_is_dialled_again_in_time(steps: list[tuple[str, int, bool, float]]) -> None:
    """BOOK-1: nobody waits longer than the longest wait of its kind, and with nobody connected no longer than
    REDIAL_MAX_S."""
    book, now = AddressBook("me"), 0.0
    for step, number, company, passed in steps:
        now, peer = now + passed, f"peer{number}"
        if step == "learn":
            book.learn(peer, far(number), Rank.TOLD, now=now)
        elif step == "lost":
            book.lost(peer, now, dear=True)
        else:
            book.dialled(peer, step == "ok", now, company=company)
        known = [name for name, _, _, _ in book.entries()]
        for name in known:
            assert book.next_dial(name, now, company=True) <= now + REDIAL_FAR_S
            assert book.next_dial(name, now, company=True, needed=True) <= now + REDIAL_PARTNER_S
            assert book.next_dial(name, now, company=False) <= now + REDIAL_MAX_S
        assert set(book.to_dial((), now + REDIAL_MAX_S, wanted=10, slots=10)) == set(known)


# -- address groups (SLOT-2, BOOK-7)


def test_two_slots_are_never_in_one_wide_group() -> None:
    book = AddressBook("me")
    for number in range(50):
        book.learn(f"sybil{number}", [f"/ip4/9.9.{number}.1/tcp/1"], Rank.TOLD)
    book.learn("honest", ["/ip4/8.8.8.8/tcp/1"], Rank.TOLD)
    chosen = book.to_dial((), 0.0, wanted=8, slots=8)
    assert len(chosen) == 2
    assert "honest" in chosen
    assert book.to_dial((), 0.0, wanted=8, slots=8, taken={"9.9.0.0/16"}) == ("honest",)
    assert len(book.to_dial((), 0.0, wanted=0, slots=8, needed={"sybil1", "sybil2"}, taken={"9.9.0.0/16"})) == 2
    home = AddressBook("me")
    for number in range(8):
        home.learn(f"near{number}", [f"/ip4/192.168.1.{number}/tcp/1"], Rank.TOLD)
    assert len(home.to_dial((), 0.0, wanted=8, slots=8)) == 8, "a private network is in no wide group"


def test_one_operator_cannot_fill_the_book() -> None:
    """BOOK-7: a /16 with a key for each of 5,000 addresses, which all connect and greet."""
    book = filled()
    for number in range(5000):
        book.learn(f"sybil{number}", [f"/ip4/9.9.{number // 250}.{number % 250}/tcp/1"], Rank.TOLD)
    assert len(book) == len(SEEN) + MAX_KNOWN_PER_GROUP
    book.learn("said", ["/ip4/9.9.1.1/tcp/5"], source="x")
    assert book.rank("said") is None, "hearsay drives out nothing that is known better"


@given(st.lists(st.tuples(st.sampled_from(["learn", "ok", "fail"]), st.integers(0, 30), st.integers(0, 3),
                          st.sampled_from(list(Rank))), max_size=120))
def test_the_count_of_a_group_is_what_is_in_it(steps: list[tuple[str, int, int, Rank]]) -> None:
    book = AddressBook()
    for step, number, at, rank in steps:
        if step == "learn":
            book.learn(f"peer{number}", [f"/ip4/9.{at}.1.{number}/tcp/1"], rank, source="x")
        else:
            book.dialled(f"peer{number}", step == "ok", FORGET_REACHED_S * 2, company=True)
        found = Counter(group_at(a[0]) for _, kind, _, a in book.entries() if kind is not Rank.REACHED)
        assert +book._by_group == found


def test_who_may_send_us_where() -> None:
    """REACH-1, REACH-2. Before: a stranger could make a peer dial 127.0.0.1 and 169.254.169.254."""
    here, lan = "/ip4/127.0.0.1/tcp/1", "/ip4/10.1.2.3/tcp/1"
    other, far = "/ip4/192.168.0.9/tcp/1", "/ip4/8.8.8.8/tcp/1"
    for source, allowed in (
        ("8.8.4.4", {far}), ("2001:4860::1", {far}), (None, {far}), ("127.0.0.1", {far, here, lan, other}),
        ("::1", {far, here, lan, other}),
        ("10.9.9.9", {far, lan}), ("192.168.7.7", {far, other}), ("169.254.0.1", {far}),
    ):
        assert {a for a in (here, lan, other, far) if may_name(a, source)} == allowed, source
    for never in (
        "/ip4/169.254.169.254/tcp/80", "/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/tcp/1", "/ip4/255.255.255.255/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6/::/tcp/1", "/ip6/::ffff:169.254.169.254/tcp/1", "/dns4/localhost/tcp/1", "/dns/example.org/tcp/1",
        "nonsense",
    ):
        sources = (None, "8.8.4.4", "127.0.0.1", "10.1.2.3", "169.254.1.1")
        assert not any(may_name(never, source) for source in sources), never
    assert not may_name("/ip6/::ffff:127.0.0.1/tcp/1", "8.8.8.8"), "IPv4 inside IPv6 is still IPv4"


async def test_the_librarys_own_dials_go_where_all_our_connections_are() -> None:
    """REACH-2: one honest neighbour, or one local client, and any answer of the DHT sent us to the router's port 22 or
    a local database."""
    lan, ten, here, far = "192.168.1.1", "10.0.0.1", "127.0.0.1", "8.8.8.8"
    home, office = scope_of(lan), scope_of(ten)
    for near, allowed in (
        ((), {far}), ((PUBLIC,), {far}), ((HERE,), {far, here}), ((home,), {far, lan}), ((home, HERE), {far, lan}),
        ((home, PUBLIC), {far}),
        ((PUBLIC, HERE), {far}), ((home, office), {far}), ((home, office, HERE), {far}), ((home, PUBLIC, HERE), {far}),
    ):
        policy = DialPolicy()
        policy.near = frozenset(near)
        went = set()
        for host in (lan, ten, here, far, "169.254.169.254"):
            try:
                await policy.checked(f"/ip4/{host}/tcp/22")
            except ConnectionRefusedError:
                continue
            went.add(host)
        assert went == allowed, near
    with policy.meaning(["/ip4/192.168.1.1/tcp/4001"]):
        assert await policy.checked("/ip4/192.168.1.1/tcp/4001"), "REACH-3"


@given(st.ip_addresses())
def test_every_address_is_of_one_kind_and_only_public_ones_come_from_afar(address: object) -> None:
    kind = "ip6" if ":" in str(address) else "ip4"
    if may_name(f"/{kind}/{address}/tcp/1", "8.8.8.8"):
        assert scope_of(str(address)) == PUBLIC
    assert scope_of(str(address)) in (PUBLIC, HERE, NOWHERE) or "/" in scope_of(str(address))


def test_unspecified_addresses_are_shown_as_those_of_the_interfaces() -> None:
    bound = ("/ip4/0.0.0.0/tcp/7/p2p/X", "/ip6/::/tcp/8/p2p/X", "/ip4/10.0.0.1/tcp/9/p2p/X")
    assert dialable(bound, ("10.0.0.1", "127.0.0.1", "::1")) == (
        "/ip4/10.0.0.1/tcp/7/p2p/X", "/ip4/127.0.0.1/tcp/7/p2p/X", "/ip6/::1/tcp/8/p2p/X", "/ip4/10.0.0.1/tcp/9/p2p/X",
    )


def test_what_others_say_counts_beside_what_is_stale_and_takes_turns_with_it() -> None:
    """BOOK-9. Before: two peers behind NAT whose relays all changed while they were apart never met again."""
    ours, theirs = "/ip4/8.8.8.0/tcp/7470", "/ip4/6.6.6.6/tcp/6"
    book, peer = filled(), SEEN[0]
    for failures in range(1, STALE_FAILURES + 3):
        book.dialled(peer, False, NOW)
        book.learn(peer, [theirs], source="neighbour")
        assert book.stale(peer) is (failures >= STALE_FAILURES)
        if not book.stale(peer):
            assert book.addresses(peer) == (ours,), "it may be away for a moment"
        else:
            assert book.addresses(peer) == ((theirs, ours) if failures % 2 else (ours, theirs))
    assert unknown(book, [peer]) == [peer], "the DHT is asked too"
    assert ours in next(row for row in book.entries() if row[0] == peer)[3], "the file has what we know ourselves"
    assert theirs not in next(row for row in book.entries() if row[0] == peer)[3]
    book.learn(peer, [ours], Rank.TOLD)
    assert book.addresses(peer) == (ours,)


def test_lies_of_many_about_a_stale_peer_are_bounded() -> None:
    """BOOK-9."""
    book, peer = filled(), SEEN[0]
    for _ in range(STALE_FAILURES):
        book.dialled(peer, False, NOW)
    for number in range(1000):
        book.learn(peer, [f"/ip4/6.6.6.6/tcp/{1 + number}"], source=f"liar{number}")
    assert len(book.addresses(peer)) <= 1 + MAX_ADDRESSES_PER_PEER
    book.dialled(peer, True, NOW)
    assert book.addresses(peer) == ("/ip4/8.8.8.0/tcp/7470",)
