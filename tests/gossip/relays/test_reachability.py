"""Whether others can dial a peer: by majority, over the widest network, and what it names then."""

from __future__ import annotations

import pytest

from p2p.base.limits import DIAL_BACK_VALID_S, WITNESSES
from p2p.gossip.connections.reach import HERE, PUBLIC
from p2p.gossip.relays.outside import Outside
from p2p.gossip.relays.reachability import FINDINGS, REACHED, Finding, Reachability, Verdict, may_witness, to_name

SEEN = "/ip4/9.9.9.9/tcp/7470"
NEAR = "/ip4/192.168.1.2/tcp/7470"
OWN = ("/ip4/9.9.9.9/tcp/7470/p2p/ME", "/ip4/192.168.1.2/tcp/7470/p2p/ME", "/ip4/127.0.0.1/tcp/7470/p2p/ME")
WAY = "/ip4/9.1.0.1/tcp/7470/p2p/RELAY/p2p-circuit"


def heard(*codes: str, address: str = SEEN, first: int = 0) -> Reachability:
    """Answers of witnesses in different groups, a second apart."""
    reach = Reachability()
    for at, code in enumerate(codes, first):
        reach.heard(Finding(f"w{at}", f"9.{at}.0.0/24", code, address, 10 * at, float(at)))
    return reach


@pytest.mark.parametrize(("codes", "verdict"), [
    ((), Verdict.UNKNOWN),
    ((REACHED,), Verdict.OPEN),
    (("timeout",), Verdict.CLOSED),
    (("timeout", REACHED), Verdict.UNKNOWN),
    (("timeout", REACHED, "refused"), Verdict.CLOSED),
    ((REACHED, REACHED, "timeout"), Verdict.OPEN),
    (("timeout", "timeout", "timeout", REACHED, REACHED), Verdict.OPEN),  # the last three count
    (("busy", "relayed", "dial"), Verdict.UNKNOWN),  # REACHED-2
])
def test_the_last_three_decide_by_majority(codes: tuple[str, ...], verdict: Verdict) -> None:
    """REACHED-1."""
    assert heard(*codes).verdict(10.0) is verdict
    assert heard(*codes).verdict(DIAL_BACK_VALID_S + 100) is Verdict.UNKNOWN


def test_a_tie_changes_nothing() -> None:
    reach = heard("timeout")
    assert reach.verdict(1.0) is Verdict.CLOSED
    reach.heard(Finding("x", "8.8.8.0/24", REACHED, SEEN, 0, 2.0))
    assert reach.verdict(3.0) is Verdict.CLOSED


def test_one_network_has_one_voice_however_many_witnesses_it_has() -> None:
    reach = heard(REACHED, REACHED)
    for number in range(20):
        reach.heard(Finding(f"liar{number}", "6.6.6.0/24", "timeout", SEEN, 0, 5.0))
    assert reach.verdict(6.0) is Verdict.OPEN
    assert len(reach.decisive(6.0)) == WITNESSES


def test_what_a_neighbour_can_dial_says_nothing_of_the_internet() -> None:
    """REACHED-3."""
    reach = heard(REACHED, REACHED, address=NEAR)
    assert reach.verdict(3.0) is Verdict.OPEN, "nobody looked from further away"
    reach.heard(Finding("far", "8.8.8.0/24", "timeout", SEEN, 0, 3.0))
    assert reach.verdict(4.0) is Verdict.CLOSED
    assert may_witness(PUBLIC, PUBLIC)
    assert not may_witness("192.168.0.0/16", PUBLIC)
    assert may_witness("192.168.0.0/16", "")
    assert not may_witness(HERE, "")


def test_a_connection_that_was_made_is_proof() -> None:
    """REACHED-5: before, two strangers that said 'timeout' could send a public peer to relays."""
    reach = heard("timeout", "timeout", "timeout")
    reach.proved(5.0)
    assert (reach.verdict(6.0), reach.reason(6.0)) == (Verdict.OPEN, "others have dialled it")
    assert reach.verdict(6.0 + DIAL_BACK_VALID_S) is not Verdict.OPEN
    reach.forget()
    assert reach.verdict(6.0) is Verdict.UNKNOWN, "in another network all of it may be different"


def test_a_liar_does_not_choose_the_address_that_others_are_sent_to() -> None:
    reach = heard(REACHED, REACHED)
    reach.heard(Finding("liar", "6.6.6.0/24", REACHED, "/ip4/1.2.3.4/tcp/7470", 0, 9.0))
    assert reach.seen_at(10.0) == (SEEN,)


def test_every_finding_is_a_sentence_and_clocks_have_a_median() -> None:
    for code in FINDINGS:
        assert SEEN in heard(code).reason(1.0), code
    assert heard(REACHED, REACHED, "timeout").clock_ms(3.0) == 10
    assert Reachability().clock_ms(0.0) is None


@pytest.mark.parametrize(("verdict", "named"), [
    (Verdict.UNKNOWN, OWN),
    (Verdict.OPEN, ("/ip4/5.5.5.5/tcp/7470/p2p/ME", *OWN)),
    (Verdict.CLOSED, (f"{WAY}/p2p/ME", *OWN[1:])),
])
def test_a_peer_names_what_others_can_dial(verdict: Verdict, named: tuple[str, ...]) -> None:
    """REACHED-4."""
    assert to_name(verdict, OWN, ("/ip4/5.5.5.5/tcp/7470",), (WAY,), "ME") == named


def test_what_the_user_says_is_not_asked() -> None:
    outside = Outside("ME", Verdict.CLOSED)
    outside.reach.proved(0.0)
    assert outside.verdict(1.0) is Verdict.CLOSED
    assert outside.to_name(OWN, 1.0) == OWN[1:]
