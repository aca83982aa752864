"""The address book against peers that fill it: hearsay never replaces what we saw ourselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.keys import Key
from p2p.base.limits import MAX_BOOK_FILE, MAX_HEARSAY_PER_SOURCE, MAX_KNOWN_PEERS, MAX_PEERS_SHARED
from p2p.gossip.book import AddressBook, Rank
from p2p.gossip.reach import HERE, NOWHERE, PUBLIC, DialPolicy, dialable, may_name, scope_of

SEEN = [Key(bytes([number]) * 32).peer_id for number in range(1, 21)]


def filled() -> AddressBook:
    book = AddressBook()
    for number, peer in enumerate(SEEN):
        book.learn(peer, [f"/ip4/8.8.8.{number}/tcp/7470"], Rank.REACHED if number % 2 else Rank.TOLD)
    return book


def test_32_welcomes_of_invented_peers_evict_nobody() -> None:
    """Before: all honest addresses were gone, the bootstrap's too."""
    book = filled()
    for liar in range(40):
        for number in range(MAX_PEERS_SHARED * 32):
            book.learn(f"invented{liar}x{number}", ["/ip4/9.9.9.9/tcp/1"], source=f"liar{liar}")
    assert all(book.addresses(peer) for peer in SEEN)
    assert len(book) <= MAX_KNOWN_PEERS


NEWS = st.tuples(st.integers(0, 3), st.integers(0, 3000), st.sampled_from(list(Rank)))


@given(st.lists(NEWS, max_size=400), st.integers(0, 3))
def test_what_ranks_higher_is_never_driven_out(news: list[tuple[int, int, Rank]], extra: int) -> None:
    """BOOK-3, BOOK-4. The book is full of hearsay beforehand, so that each new entry has to replace one."""
    book = filled()
    for number in range(MAX_KNOWN_PEERS + extra):
        book.learn(f"old{number}", ["/ip4/9.9.9.9/tcp/1"], source=f"source{number // MAX_HEARSAY_PER_SOURCE}")
    for source, number, rank in news:
        before = {peer: book.rank(peer) for peer in SEEN}
        book.learn(f"new{number}", ["/ip4/9.9.9.9/tcp/2"], rank, source=f"liar{source}")
        assert len(book) <= MAX_KNOWN_PEERS
        if rank is Rank.HEARSAY:
            assert {peer: book.rank(peer) for peer in SEEN} == before
    assert all(book.rank(peer) for peer in SEEN[1::2]), "reached ones outlive fewer news than there is hearsay"


def test_one_source_has_a_bounded_share() -> None:
    book = AddressBook()
    for number in range(MAX_HEARSAY_PER_SOURCE * 3):
        book.learn(f"invented{number}", ["/ip4/9.9.9.9/tcp/1"], source="liar")
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
    raw = book.dump(MAX_BOOK_FILE)
    again = AddressBook()
    assert again.load(raw, MAX_BOOK_FILE) == len(SEEN)
    assert [(again.rank(p), again.addresses(p)) for p in SEEN] == [(book.rank(p), book.addresses(p)) for p in SEEN]
    assert again.dump(MAX_BOOK_FILE) == raw
    assert len(book.dump(300)) <= 300


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_a_book(noise: bytes, at: int) -> None:
    raw = filled().dump(MAX_BOOK_FILE)
    book = AddressBook()
    assert book.load(raw[:at] + noise + raw[at:], MAX_BOOK_FILE) >= len(SEEN) - len(noise) - 2
    assert len(book) <= MAX_KNOWN_PEERS


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
