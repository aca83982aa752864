"""Compact proposals: what comes out is what was signed, whatever is lost, reordered, forged, withheld or sent too
often."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_BLOCK, MAX_GOSSIP, MAX_TX, MAX_TXS_PER_BLOCK
from p2p.base.merkle import leaf_hash
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION
from p2p.consensus import wire
from p2p.consensus.bodies import Bodies
from p2p.consensus.compact import Assembly, CompactProposal, parse, shrink
from p2p.consensus.driver import Driver
from p2p.consensus.events import Broadcast, Rebroadcast
from p2p.consensus.evidence import PER_BLOCK
from p2p.consensus.header import make_block, tx_root
from p2p.consensus.messages import MAX_EVIDENCE_BYTES, Proposal, SignedProposal, Vote, VoteType, sign_vote
from p2p.consensus.timing import Timing
from p2p.consensus.validators import ValidatorSet
from tests.consensus.test_engine import KEYS, SET, App, Guard

MEMBERS = ValidatorSet.of(SET)
TXS = st.lists(st.binary(min_size=1, max_size=40), max_size=12, unique=True)


def proposal(txs: tuple[bytes, ...], key: Key, round_: int = 0, height: int = 1) -> SignedProposal:
    block = make_block(App(), key, "sim", round_, 1000, ())
    header = replace(block.header, height=height, tx_root=tx_root(txs, block.last_commit, ()))
    block = replace(block, header=header, txs=txs)
    body = Proposal("sim", height, round_, block.block_id, -1, key.public)
    return SignedProposal(body, key.sign(Domain.PROPOSAL, "sim", encode(body)), block)


def compact(signed: SignedProposal) -> CompactProposal:
    return parse(shrink(wire.pack(signed, 7)))


def driver(clock: Callable[[], int] = lambda: 1000) -> Driver:
    """Of a peer that only watches: it proposes nothing itself."""
    return Driver(key=Key(b"\x66" * 32), network="sim", app=App(), guard=Guard(), timing=Timing(), clock=clock)


@cache
def turn(round_: int = 0, height: int = 1) -> Key:
    """Whose turn it is in the first height."""
    assert height == 1
    public = driver().machine.proposer_of(round_)
    return next(key for key in KEYS if key.public == public)


Heard = tuple[Outcome, SignedProposal | Assembly | None]
IGNORED: Heard = Outcome.IGNORE, None


class Shell:
    """One peer's Bodies, with what its mempool holds, and its clock."""

    def __init__(self, *pool: bytes) -> None:
        self.now_ms = 1000
        self.driver = driver(lambda: self.now_ms)
        self.driver.begin()
        self.bodies = Bodies(self.driver, "sim", {leaf_hash(raw): raw for raw in pool}.get)

    def hears(
        self, signed: SignedProposal, forwarder: Key | str,
        change: Callable[[CompactProposal], CompactProposal] = lambda c: c
    ) -> Heard:
        """Later than what it heard before: a repeat that is due."""
        self.now_ms += Timing().rebroadcast_ms
        return self.hears_again(signed, forwarder, change)

    def hears_again(
        self, signed: SignedProposal, forwarder: Key | str,
        change: Callable[[CompactProposal], CompactProposal] = lambda c: c
    ) -> Heard:
        """At the same moment."""
        data = encode(change(compact(signed)))
        return self.bodies.judge(forwarder if isinstance(forwarder, str) else forwarder.peer_id, data)


@settings(deadline=None)
@given(txs=TXS, data=st.data())
def test_a_peer_rebuilds_what_was_signed_from_any_part_it_has(txs: list[bytes], data: st.DataObject) -> None:
    signed = proposal(tuple(txs), turn())
    small = compact(signed)
    assert len(encode(small)) < 1500 + 34 * len(txs)
    assert small.is_right("sim", MEMBERS)
    pool = {leaf_hash(raw): raw for raw in txs if data.draw(st.booleans())}
    assembly = Assembly(small, pool.get)
    assert [txs[place] for place in assembly.missing] == [raw for raw in txs if leaf_hash(raw) not in pool]
    assembly.fill([txs[place] for place in assembly.missing])
    assert assembly.whole() == signed


@settings(deadline=None)
@given(txs=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8, unique=True), data=st.data())
def test_other_transactions_than_the_header_names_are_refused_one_and_all(
    txs: list[bytes], data: st.DataObject
) -> None:
    signed = proposal(tuple(txs), turn())
    small = compact(signed)
    others = st.one_of(st.permutations(txs), TXS, st.just([*txs, txs[0]]), st.just(txs[:-1]))
    other = data.draw(others.filter(lambda o: list(o) != txs))
    assert not replace(small, leaves=tuple(map(leaf_hash, other))).is_right("sim", MEMBERS)
    assembly = Assembly(small, {}.get)
    with pytest.raises(RemoteProtocolError, match="txs"):
        assembly.fill(other)
    assert assembly.missing == tuple(range(len(txs))), "nothing of it is kept"


def test_a_body_swapped_under_an_honest_signature_never_reaches_the_core() -> None:
    """The signature covers the header; whoever believed another body under it would vote nil on the honest block."""
    signed = proposal((b"right",), turn())
    swapped = replace(signed, block=replace(signed.block, txs=(b"wrong",)))
    assert swapped.verify()
    accepted, message = driver().judge(wire.pack(swapped, 0))
    assert (accepted, message) == (Outcome.REJECT, None)
    assert driver().judge(wire.pack(signed, 0))[0] is Outcome.ACCEPT


def test_a_compact_proposal_that_carries_transactions_is_refused() -> None:
    signed = proposal((b"a",), turn())
    with pytest.raises(RemoteProtocolError, match="txs"):
        parse(encode(CompactProposal(VERSION, 0, signed, ())))
    with pytest.raises(RemoteProtocolError, match="version"):
        parse(encode(replace(compact(signed), version=VERSION + 1)))


def test_the_largest_compact_proposal_fits_gossip_and_more_than_a_block_is_not_put_together() -> None:
    txs = tuple(number.to_bytes(2, "big") for number in range(MAX_TXS_PER_BLOCK))
    assert len(encode(compact(proposal(txs, turn())))) < MAX_GOSSIP // 4
    large = tuple(bytes([number]) * MAX_TX for number in range(MAX_BLOCK // MAX_TX + 1))
    with pytest.raises(RemoteProtocolError, match="more transactions than"):
        Assembly(compact(proposal(large, turn())), {}.get).fill(large)


def test_what_is_here_is_taken_at_once_and_what_is_missing_is_asked_of_its_proposer_then_of_who_forwards_it() -> None:
    signed = proposal((b"a", b"b"), turn())
    assert Shell(b"a", b"b").hears(signed, "a stranger") == (Outcome.ACCEPT, signed)
    shell = Shell(b"a")
    accepted, assembly = shell.hears(signed, "a stranger")
    assert accepted
    assert isinstance(assembly, Assembly)
    assert (assembly.missing, assembly.source) == ((1,), turn().peer_id)
    second = shell.hears_again(signed, "a stranger")
    assert second[0] is Outcome.IGNORE, "not passed on again so soon"
    assert isinstance(second[1], Assembly)
    assert second[1].source == "a stranger", "its proposer is being asked already"
    assert shell.hears_again(signed, "a stranger") == IGNORED
    assert isinstance(shell.hears_again(signed, "another")[1], Assembly)


def test_a_proposer_that_gives_nothing_is_asked_after_others() -> None:
    shell, signed = Shell(), proposal((b"a",), turn())
    sources = []
    for _ in range(3):
        found = shell.hears(signed, "a forwarder")[1]
        assert isinstance(found, Assembly)
        sources.append(found.source)
        shell.bodies.failed(found.source)
        shell.bodies.done(found.source)
    assert sources == [turn().peer_id, "a forwarder", turn().peer_id], "and again, while nobody gives it"


def test_of_one_offer_each_source_is_tried_once() -> None:
    """A stream brings a proposal once, so nobody waits for a repeat."""
    shell, signed = Shell(), proposal((b"a",), turn())
    found = shell.hears(signed, "a relay")[1]
    assert isinstance(found, Assembly)
    tried = [found.source]
    shell.bodies.failed(found.source)
    shell.bodies.done(found.source)
    while shell.bodies.choose(found):
        tried.append(found.source)
        shell.bodies.failed(found.source)
        shell.bodies.done(found.source)
        assert len(tried) <= 2
    assert tried == [turn().peer_id, "a relay"]


def test_one_block_at_a_time_from_each_and_another_s_offer_does_not_wait() -> None:
    """A villain that withholds blocks nobody but itself."""
    shell, villain, honest = Shell(), turn(), "honest"
    first, second = proposal((b"a",), turn()), proposal((b"b",), turn())
    assert isinstance(shell.hears(first, villain)[1], Assembly)
    for _ in range(50):
        assert shell.hears(first, villain) == (Outcome.ACCEPT, None)
        assert shell.hears(second, villain) == (Outcome.ACCEPT, None)
    assert isinstance(shell.hears(first, honest)[1], Assembly)
    assert len(shell.bodies) == 2
    shell.bodies.distrust(villain.peer_id)
    shell.bodies.done(villain.peer_id)
    assert shell.hears(first, villain) == (Outcome.ACCEPT, None), "a liar is not asked again at this height"
    assert shell.bodies.new_height() == []
    assert isinstance(shell.hears(first, villain)[1], Assembly)


def test_nothing_is_fetched_for_what_the_core_would_not_keep() -> None:
    stranger, member = Key(b"\x77" * 32), next(key for key in KEYS if key != turn())
    assert Shell().hears(proposal((b"a",), stranger), stranger) == (Outcome.REJECT, None), "no validator"
    assert Shell().hears(proposal((b"a",), member), member) == IGNORED, "not its turn"
    assert Shell().hears(proposal((b"a",), turn(50), 50), turn(50)) == IGNORED, "too far ahead"
    assert Shell().hears(proposal((b"a",), turn(), height=9), turn()) == IGNORED, "sync brings it"
    assert isinstance(Shell().hears(proposal((b"a",), turn(1), 1), turn(1))[1], Assembly)


def test_a_flood_of_proposals_of_one_round_ends_at_two() -> None:
    shell = Shell()
    for number in range(2):
        signed = proposal((bytes([number]),), turn())
        found = shell.hears(signed, turn())[1]
        assert isinstance(found, Assembly)
        found.fill(signed.block.txs)
        shell.bodies.done(turn().peer_id)
        shell.driver.take(found.whole())
        assert shell.hears(signed, turn()) == (Outcome.ACCEPT, None), "a repeat is not logged again"
    assert shell.hears(proposal((b"third",), turn()), turn()) == IGNORED
    assert len(shell.driver.machine.proposal_conflicts) == 1, "two are enough to convict it"


def test_who_withholds_bodies_is_heard_twice_a_round_and_convicted_by_the_two() -> None:
    """What it signed is enough: no body is needed to know that there are two."""
    shell, villain = Shell(), turn()
    claims = [proposal((bytes([number]),), villain) for number in range(50)]
    heard = [shell.hears(signed, villain)[0] for signed in claims]
    assert heard == [Outcome.ACCEPT] * 2 + [Outcome.IGNORE] * 48
    assert shell.driver.evidence.offenders() == {villain.public}
    assert shell.driver.machine.proposals == {}, "none was made whole"
    said = [one for one in shell.driver.take(Rebroadcast()) if isinstance(one, Broadcast)]
    assert any(isinstance(wire.parse(one.data), wire.EvidenceNote) for one in said), "and the others are told"
    assert [
        shell.hears(signed, villain)[0] for signed in claims[:3]
    ] == [Outcome.ACCEPT, Outcome.ACCEPT, Outcome.IGNORE]


def test_a_third_claim_that_somebody_honest_voted_for_is_fetched() -> None:
    """Others have its body: two that are withheld hide it from nobody."""
    shell, villain = Shell(), turn()
    claims = [proposal((bytes([number]),), villain) for number in range(3)]
    for signed in claims[:2]:
        shell.hears(signed, villain)
        shell.bodies.done(villain.peer_id)
    assert shell.hears(claims[2], villain) == IGNORED
    for key in KEYS[:2]:
        body = Vote("sim", VoteType.PREVOTE, 1, 0, claims[2].proposal.block_id, -1, key.public)
        shell.driver.take(sign_vote(key, body))
    outcome, found = shell.hears(claims[2], villain)
    assert outcome is Outcome.ACCEPT
    assert isinstance(found, Assembly)
    assert found.block_id == claims[2].proposal.block_id


def test_two_claims_of_the_last_height_convict_too_and_older_ones_are_forgotten() -> None:
    shell, villain = Shell(), turn()
    shell.driver.previous, shell.driver.height = shell.driver.machine, 2
    shell.bodies.new_height()
    heard = [shell.hears(proposal((bytes([number]),), villain), villain)[0] for number in range(3)]
    assert heard == [Outcome.ACCEPT, Outcome.ACCEPT, Outcome.IGNORE]
    assert shell.driver.evidence.offenders() == {villain.public}
    shell.driver.height = 3
    shell.bodies.new_height()
    assert shell.bodies._claims == {}


@pytest.mark.parametrize(
    "evidence", [(b"e",) * (PER_BLOCK + 1), (bytes(MAX_EVIDENCE_BYTES + 1),)], ids=["too many", "too long"]
)
def test_a_proposal_with_evidence_that_no_block_can_carry_is_wrong_for_everybody(evidence: tuple[bytes, ...]) -> None:
    signed = proposal((b"a",), turn())
    header = replace(signed.block.header, tx_root=tx_root(signed.block.txs, None, evidence))
    block = replace(signed.block, header=header, evidence=evidence)
    body = replace(signed.proposal, block_id=block.block_id)
    right = SignedProposal(body, turn().sign(Domain.PROPOSAL, "sim", encode(body)), block)
    data = encode(CompactProposal(VERSION, 7, replace(right, block=replace(block, txs=())), (leaf_hash(b"a"),)))
    assert Shell(b"a").bodies.judge(turn().peer_id, data) == (Outcome.REJECT, None)


def test_proposals_of_the_next_height_wait_one_of_each_proposer() -> None:
    shell, first = Shell(), proposal((b"\x00",), turn(), height=2)
    for number in range(20):
        for key in KEYS:
            signed = proposal((bytes([number]),), key, height=2)
            assert shell.hears(signed, "a forwarder") == (Outcome.ACCEPT, None)
            assert shell.hears_again(signed, "another") == IGNORED
    assert shell.hears(first, Key(b"\x77" * 32)) == (Outcome.ACCEPT, None), "whoever forwards it"
    assert shell.hears(proposal((b"a",), Key(b"\x77" * 32), height=2), "x") == (Outcome.REJECT, None), "no validator"
    assert len(shell.bodies) == len(KEYS)
    shell.driver.height = 2
    shell.now_ms += 5000
    (early,) = shell.bodies.new_height()
    assert isinstance(early, Assembly)
    assert early.proposal == first.proposal, "it is the turn of one of them"
    assert early.source == turn().peer_id
    assert shell.bodies.arrived_ms(first.proposal) < shell.now_ms - 5000 + 1, (
        "timely by when it came, not by when its height began"
    )
    assert len(shell.bodies) == 1, "it is being fetched"


@pytest.mark.parametrize("change", [
    lambda c: replace(c, leaves=()),
    lambda c: replace(c, signed=replace(c.signed, signature=bytes(64))),
    lambda c: replace(c, signed=replace(c.signed, block=replace(c.signed.block, evidence=(b"e",)))),
    lambda c: replace(
        c, signed=replace(c.signed, block=replace(c.signed.block, header=replace(c.signed.block.header, time_ms=5)))
    ),
], ids=["leaves", "signature", "evidence", "header"])
def test_a_forged_part_costs_its_forwarder(change: Callable[[CompactProposal], CompactProposal]) -> None:
    assert Shell(b"a").hears(proposal((b"a",), turn()), turn(), change) == (Outcome.REJECT, None)
