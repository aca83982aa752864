"""The pure parts: names, scores, the address book, greetings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, LocalProtocolError, RemoteProtocolError
from p2p.base.keys import Key
from p2p.base.limits import BAN_POINTS, BAN_S, MAX_ADDRESSES_PER_PEER, MAX_KNOWN_PEERS
from p2p.base.types import VERSION
from p2p.gossip.connections.score import RateLimit, Scores
from p2p.gossip.connections.topics import protocol_name, topic_name
from p2p.gossip.discovery.book import AddressBook, Rank, bare_address, seen_addresses
from p2p.gossip.discovery.handshake import pack_hello, pack_refusal, pack_welcome, parse_opening, parse_reply

PEER = Key(bytes(32)).peer_id
HERE = "/ip4/127.0.0.1/tcp/4001"


def test_names() -> None:
    assert topic_name("lab", "votes") == "/folkmoot/lab/votes/1"
    assert protocol_name("infer") == "/folkmoot/infer/1"
    for network, short in (("a/b", "votes"), ("", "votes"), ("lab", "Votes"), ("lab", "a/b")):
        with pytest.raises(LocalProtocolError):
            topic_name(network, short)


def test_score_bans_and_forgives() -> None:
    """SCORE-1, SCORE-2, SCORE-3."""
    scores = Scores()
    assert not scores.penalise("a", 10 * BAN_POINTS, 0.0)
    assert scores.points("a", 0.0) == BAN_POINTS / 4
    for _ in range(2):
        assert not scores.penalise("a", BAN_POINTS // 4, 0.0)
    assert not scores.penalise("a", BAN_POINTS // 4 - 1, 0.0)
    assert scores.points("a", 10.0) == BAN_POINTS - 11
    assert scores.penalise("a", 11, 10.0, "the last straw")
    assert scores.banned("a", 10.0 + BAN_S - 1)
    assert scores.bans(10.0) == {"a": (BAN_S, "the last straw")}
    assert scores.ended(10.0 + BAN_S - 1) == ()
    assert scores.ended(10.0 + BAN_S) == ("a",)
    assert scores.ended(10.0 + BAN_S) == ()
    assert not scores.banned("a", 10.0 + BAN_S)
    assert not scores.banned("b", 10.0)


@given(st.lists(st.floats(min_value=0, max_value=2), max_size=300))
def test_rate_never_exceeds_burst_plus_time(waits: list[float]) -> None:
    """RATE-1."""
    limit, now, allowed = RateLimit(5), 0.0, 0
    for wait in waits:
        now += wait
        if limit.allows("a", now):
            limit.spend("a", now)
            allowed += 1
    assert allowed <= 5 + now * 5 + 1e-6


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_nothing(text: str) -> None:
    """HELLO-2: what passes can be dialled as TCP and nothing else."""
    found = bare_address(text, PEER)
    assert found is None or "/tcp/" in found


def test_addresses() -> None:
    assert bare_address(f"{HERE}/p2p/{PEER}", PEER) == HERE
    for bad in (f"{HERE}/p2p/{Key(b'1' * 32).peer_id}", "/ip4/0.0.0.0/tcp/1", "/ip4/1.2.3/tcp/1", "/ip4/1.2.3.4/tcp/0"):
        assert bare_address(bad, PEER) is None
    assert seen_addresses(["/ip4/0.0.0.0/tcp/9"], "10.0.0.7") == ("/ip4/10.0.0.7/tcp/9",)


def test_book_delays_failures_and_seeks_the_lost() -> None:
    """BOOK-1, BOOK-2."""
    book = AddressBook()
    book.learn(PEER, [HERE])
    assert book.to_dial((), 0.0, wanted=1) == (PEER,)
    assert book.to_dial((), 0.0, wanted=0) == ()
    book.dialled(PEER, False, 0.0)
    book.dialled(PEER, False, 1.0)
    assert book.to_dial((), 2.9, wanted=1) == ()
    assert book.to_dial((), 3.0, wanted=1) == (PEER,)
    book.lost(PEER, 3.0)
    assert book.to_dial((), 4.0, wanted=0) == (), "a lost peer that is hearsay is not dialled again"
    book.learn(PEER, [HERE], Rank.TOLD)
    book.lost(PEER, 3.0)
    assert book.to_dial((), 4.0, wanted=0) == (), "who greeted us and left does not choose whom we dial"
    book.lost(PEER, 3.0, dear=True)
    assert book.to_dial((), 4.0, wanted=0) == (PEER,)
    book.dialled(PEER, True, 5.0)
    book.lost(PEER, 5.0)
    assert book.to_dial((), 6.0, wanted=0) == (PEER,)
    assert book.to_dial((PEER,), 6.0, wanted=0) == ()
    assert book.to_dial((), 6.0, wanted=0, slots=0) == book.to_dial((), 6.0, wanted=0, busy=(PEER,)) == ()


def test_book_is_bounded() -> None:
    book = AddressBook()
    for number in range(MAX_KNOWN_PEERS + 10):
        book.learn(f"peer{number}", [f"/ip4/{64 + number // 256}.{number % 256}.3.4/tcp/1"], source=f"source{number}")
    assert len(book) == MAX_KNOWN_PEERS
    book.learn(PEER, [f"/ip4/1.2.3.4/tcp/{port}" for port in range(1, 50)])
    assert len(book.addresses(PEER)) == MAX_ADDRESSES_PER_PEER


def test_greeting() -> None:
    """HELLO-1."""
    assert parse_opening(pack_hello("lab", (HERE,)), "lab").addresses == (HERE,)  # type: ignore[union-attr]
    assert parse_reply(pack_welcome((HERE,), ())).addresses == (HERE,)  # type: ignore[union-attr]
    with pytest.raises(RemoteProtocolError) as other:
        parse_opening(pack_hello("lab", ()), "moon")
    assert (other.value.code, other.value.field) == ("wrong_network", "network")
    assert parse_reply(pack_refusal(other.value)).code == "wrong_network"  # type: ignore[union-attr]
    with pytest.raises(RemoteProtocolError) as newer:
        parse_opening(encode([VERSION + 1, 1]), "lab")
    assert newer.value.code == "version"


@given(st.binary(max_size=200))
def test_garbage_is_a_typed_error(data: bytes) -> None:
    for parse in (lambda: parse_opening(data, "lab"), lambda: parse_reply(data)):
        try:
            parse()
        except FolkmootError as error:
            code = error.code
            if not code:
                raise AssertionError("an error without a code") from error
