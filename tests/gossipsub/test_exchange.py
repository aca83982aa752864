"""PX-1, PX-2: peers named in PRUNEs."""

from __future__ import annotations

from p2p.base.limits import MAX_OFFERS, MAX_PEER_ID, MAX_PEER_RECORD
from p2p.gossipsub.rpc import Graft, PeerInfo, Prune, Rpc
from tests.gossipsub.net import TXS, VOTES, One, few


def described(one: One, name: str, *topics: str) -> PeerInfo:
    one.peer(name, *topics)
    info = PeerInfo(name.encode(), b"record of " + name.encode())
    one.router.describe(name, info)
    return info


def refused(one: One) -> tuple[PeerInfo, ...]:
    """Whom a peer is told that finds no room in a full mesh."""
    for i in range(12):
        one.member(f"m{i}")
    described(one, "late")
    one.says("late", Rpc(graft=(Graft(TXS),)))
    (prune,) = one.sent("late").prune
    return prune.peers


def test_px_1_who_finds_no_room_is_told_of_others_on_the_topic() -> None:
    one = One()
    good = {described(one, f"good{i}") for i in range(3)}
    described(one, "elsewhere", VOTES)
    described(one, "bad")
    one.router.app_score("bad", -1)
    one.peer("nothing known of it")
    assert set(refused(one)) == good


def test_px_1_so_many_are_named() -> None:
    one = One(few(exchange_peers=4))
    for i in range(20):
        described(one, f"p{i}")
    assert len(set(refused(one))) == 4


def test_px_1_one_that_is_gone_is_not_named() -> None:
    one = One()
    described(one, "gone")
    one.router.remove_peer("gone", one.now)
    one.router.describe("gone", PeerInfo(b"x"))
    assert refused(one) == ()


def prune(*infos: PeerInfo) -> Rpc:
    return Rpc(prune=(Prune(TXS, infos, 60),))


def test_px_2_only_the_trusted_are_believed() -> None:
    one = One()
    one.member("trusted")
    one.member("other")
    one.router.app_score("trusted", 10)
    one.router.app_score("other", 9.9)
    one.says("other", prune(PeerInfo(b"a")))
    one.says("trusted", prune(PeerInfo(b"b", b"r"), PeerInfo(b"b", b"r")))
    assert one.router.offers() == [PeerInfo(b"b", b"r")]
    assert one.router.offers() == [], "taken"


def test_px_2_offers_are_bounded() -> None:
    one = One()
    one.member("p")
    one.router.app_score("p", 10)
    one.says("p", prune(PeerInfo(b""), PeerInfo(bytes(MAX_PEER_ID + 1)), PeerInfo(b"x", bytes(MAX_PEER_RECORD + 1))))
    assert one.router.offers() == []
    one.says("p", prune(*(PeerInfo(bytes([i])) for i in range(20))))
    assert one.router.status()["offers"] == 16, "of one PRUNE"
    for start in range(0, 200, 16):
        one.says("p", prune(*(PeerInfo(bytes([start + i])) for i in range(8))))
    assert len(one.router.offers()) == MAX_OFFERS
