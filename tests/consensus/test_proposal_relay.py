"""Proposals by streams, between real drivers in memory (vote_lab.py): who gets them, from whom, and how often."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_BUNDLE, MAX_KEPT_PROPOSALS
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.messages import Proposal, SignedProposal, VoteType
from p2p.consensus.proposal_relay import Judged
from p2p.consensus.relays import PACE, Pace
from p2p.consensus.vote_exchange import VoteExchange
from p2p.consensus.vote_frames import Bundle, Proposed, pack, parse_frame
from tests.consensus.test_vote_exchange import HEIGHTS, PACED, REAL, RELAYS, relays_of, vote
from tests.consensus.vote_lab import Lab


def proposals_of(data: bytes) -> list[SignedProposal]:
    """What a frame proposes."""
    frame = parse_frame(data)
    found = wire.parse(frame.proposal) if isinstance(frame, Proposed) else None
    return [found] if isinstance(found, SignedProposal) else []


def signed_by(key: Key, proposal: Proposal, like: SignedProposal) -> SignedProposal:
    return replace(
        like, proposal=proposal, signature=key.sign(Domain.PROPOSAL, proposal.network, encode(proposal))
    )


def another(key: Key, like: SignedProposal) -> SignedProposal:
    """The same proposal with another block, a millisecond later."""
    block = replace(like.block, header=replace(like.block.header, time_ms=like.block.header.time_ms + 1))
    changed = signed_by(key, replace(like.proposal, block_id=block.block_id), like)
    return replace(changed, block=block)


def proposed_at(lab: Lab, height: int) -> SignedProposal:
    """Run until a height is proposed. Nobody gets it, and its proposer is dead then."""
    found: list[SignedProposal] = []

    def drops(source: int, to: int, data: bytes) -> bool:
        mine = [one for one in proposals_of(data) if one.proposal.height == height]
        found.extend(mine)
        return bool(mine)

    lab.drops = drops
    while not found:
        assert lab.drivers[0].height <= height, "it was proposed before"
        lab.step()
    lab.dead = {relays_of(lab, height)[0]}
    lab.drops = lambda source, to, data: False
    return found[0]


@pytest.mark.parametrize(("count", "latency_ms"), [(4, 5), (16, 2), (16, 30), (48, 10)])
def test_each_validator_gets_a_proposal_once_and_nothing_goes_by_gossip(count: int, latency_ms: int) -> None:
    lab = Lab(count, latency_ms=latency_ms)
    lab.run(2)
    lab.proposed.clear()
    lab.run(2 + HEIGHTS)
    assert HEIGHTS * (count - 1) <= sum(lab.proposed.values()) <= (HEIGHTS + 1) * (count - 1)
    assert not lab.meshed
    assert not lab.wants


@pytest.mark.parametrize("pace", [PACE, RELAYS])
@pytest.mark.parametrize("count", [4, 10])
def test_two_proposals_of_one_round_convict_their_proposer_at_everybody(count: int, pace: Pace) -> None:
    """One half gets the one, the other half the other; relays are in both."""
    lab = Lab(count, pace=pace, timing=REAL)
    lab.run(1)
    villain = relays_of(lab, 2)[0]
    key, one = lab.keys[villain], proposed_at(lab, 2)
    two = another(key, one)
    for at, who in enumerate(relays_of(lab, 2)[1:]):
        lab.send(villain, who, encode(Proposed(wire.pack(two if at % 2 else one, 0))))
    lab.run(4, limit_ms=60_000)
    honest = [who for who in range(count) if who != villain]
    assert all(key.public in lab.drivers[who].evidence.offenders() for who in honest)
    assert not lab.blamed


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("count", [4, 16])
def test_one_relay_is_enough(count: int, rank: int) -> None:
    """The proposer gives its proposal to it alone, and is gone."""
    lab = Lab(count, timing=REAL)
    lab.run(1)
    one = proposed_at(lab, 2)
    lab.send(relays_of(lab, 2)[0], relays_of(lab, 2)[rank], encode(Proposed(wire.pack(one, 0))))
    before = lab.now
    while not all(lab.drivers[who].machine.proposal_of(one.proposal.block_id) for who in relays_of(lab, 2)[1:]):
        lab.step()
        assert lab.drivers[relays_of(lab, 2)[1]].height == 2, "it is still of use"
    assert lab.now - before <= (rank + 1) * max(exchange.wait.ms for exchange in lab.exchanges)


def test_who_missed_a_proposal_asks_and_is_given_it() -> None:
    lab = Lab(4, timing=PACED)
    lab.run(1)
    until = lab.now + PACED.block_interval_ms + 200
    lab.drops = lambda source, to, data: to == 3 and lab.now < until and bool(proposals_of(data))
    spent_ms = lab.run(2)
    assert spent_ms < PACED.block_interval_ms + 200 + 5 * PACE.want_ms
    assert {source for source, _ in lab.wants} == {3}


def test_who_comes_within_a_round_is_given_our_proposal_and_votes_for_it() -> None:
    lab = Lab(4)
    lab.run(1)
    proposer, late = relays_of(lab, 2)[0], relays_of(lab, 2)[3]
    exchange = lab.exchanges[proposer]
    exchange.down(str(late))
    while not lab.drivers[proposer].machine.proposals:
        lab.step()
    lab.up(proposer, late)
    assert str(late) in exchange.advance(lab.now)
    frame = exchange.frame(str(late), lab.now)
    assert frame is not None
    assert [one.proposal.height for one in proposals_of(frame)] == [2]


def test_a_proposal_of_a_peer_without_a_stream_from_us_is_taken() -> None:
    lab = Lab(4, timing=PACED)
    lab.run(1)
    one, late = proposed_at(lab, 2), relays_of(lab, 2)[3]
    lab.exchanges[late].down(str(relays_of(lab, 2)[0]))
    lab.take_frame(late, str(relays_of(lab, 2)[0]), encode(Proposed(wire.pack(one, 0))))
    assert lab.drivers[late].machine.proposal_of(one.proposal.block_id) is not None


class Alone:
    """One validator's exchange, with a judge in the test's hand and one neighbour, the round's proposer."""

    def __init__(self, count: int = 16) -> None:
        self.lab = Lab(count)
        order = relays_of(self.lab, 1)
        self.proposer, self.me = order[0], order[1]
        self.outcome, self.height = Outcome.ACCEPT, 1
        self.exchange = VoteExchange(self.lab.drivers[self.me], RELAYS, self.judge)
        self.lab.drivers[self.me].begin()
        for who in range(count):
            if who != self.me:
                self.exchange.up(str(who), self.lab.keys[who].public, self.lab.now)

    def judge(self, peer: str, data: bytes) -> Judged:
        return self.outcome, self.about(data[0]), None

    def about(self, number: int) -> Proposal:
        return Proposal("sim", self.height, 0, bytes([number]) * 32, -1, self.lab.keys[self.proposer].public)

    def hears(self, number: int, *, peer: int | None = None) -> None:
        name = str(self.proposer if peer is None else peer)
        list(self.exchange.receive(name, encode(Proposed(bytes([number]))), self.lab.now))

    def due_after(self, ms: int) -> list[str]:
        return self.exchange.advance(self.lab.now + ms)


def test_a_relay_hands_on_nothing_that_it_does_not_have_whole() -> None:
    one = Alone()
    one.hears(1)
    assert one.due_after(5000) == []
    assert one.exchange.proposals.due_ms() is not None, "it looks again"
    assert one.due_after(20_000) == []
    assert one.exchange.proposals.due_ms() is None, "but not for ever"


def test_what_is_no_news_is_neither_kept_nor_handed_on() -> None:
    one = Alone()
    one.outcome = Outcome.IGNORE
    one.hears(1)
    assert len(one.exchange.proposals) == 0
    one.outcome = Outcome.REJECT
    with pytest.raises(RemoteProtocolError):
        one.hears(1)


def test_a_repeat_is_no_news() -> None:
    """Else a proposer that repeats keeps others from asking for what they lack, and where the only relay of their votes
    keeps silent they wait for ever (seed 857239)."""
    one = Alone()
    one.hears(1)
    due_ms = one.exchange._wants.due_ms
    one.lab.now += PACE.want_ms // 2
    one.hears(1)
    assert one.exchange._wants.due_ms == due_ms
    one.hears(2)
    assert one.exchange._wants.due_ms != due_ms, "another one is"


def test_few_are_kept_whatever_comes() -> None:
    one = Alone()
    for number in range(100):
        one.hears(number)
    assert len(one.exchange.proposals) == MAX_KEPT_PROPOSALS


def test_what_comes_early_never_takes_the_place_of_what_is_of_use_now() -> None:
    one = Alone()
    one.hears(1)
    one.height = 2
    for number in range(100):
        one.hears(number)
    kept = one.exchange.proposals._offers
    assert len(kept) == MAX_KEPT_PROPOSALS
    assert [about.block_id[0] for about in kept if about.height == 1] == [1]


def test_a_relay_takes_its_turn_with_what_came_before_its_height_began() -> None:
    one = Alone()
    one.height = 2
    one.hears(1)
    assert one.exchange.proposals.due_ms() is None
    one.lab.drivers[one.me].height = 2
    one.exchange.look(one.lab.now)
    assert one.exchange.proposals.due_ms() is not None


def test_what_is_too_large_or_of_another_height_is_for_the_mesh() -> None:
    one = Alone()
    mine = replace(one.about(1), proposer=one.lab.keys[one.me].public)
    assert not one.exchange.propose(mine, bytes(MAX_BUNDLE), one.lab.now), "larger than a frame"
    assert not one.exchange.propose(replace(mine, height=2), b"x", one.lab.now)
    assert one.exchange.propose(mine, b"x", one.lab.now)
    assert len(one.due_after(0)) == 15


@pytest.mark.parametrize("own", [True, False])
def test_repeats_go_through_the_mesh_more_and_more_seldom(own: bool) -> None:
    one = Alone()
    said = replace(one.about(1), proposer=one.lab.keys[one.me].public) if own else one.about(1)
    by_mesh = [at for at in range(1, 50) if not one.exchange.propose(said, b"x", one.lab.now)]
    assert by_mesh == [3, 6, 12, 24, 48]
    names = one.due_after(0)
    assert len(names) == 14 + own, "and by streams to all but its proposer"
    for name in names:
        one.exchange.frame(name, one.lab.now)
    assert one.exchange.propose(said, b"x", one.lab.now)
    assert one.due_after(100) == [], "streams lose nothing"


def test_whoever_voted_for_a_block_is_not_given_it() -> None:
    lab = Lab(16, timing=PACED)
    lab.run(1)
    one = proposed_at(lab, 2)
    gone, relay, *others = relays_of(lab, 2)
    voter, silent = others[5], others[6]
    signed = vote(lab.keys[voter], VoteType.PREVOTE, one.proposal.block_id, height=2)
    lab.send(gone, relay, encode(Proposed(wire.pack(one, 0))))
    lab.send(voter, relay, encode(Bundle(0, (pack(signed),))))
    lab.dead |= {voter, silent}
    lab.proposed.clear()
    until = lab.now + 3 * lab.exchanges[relay].wait.ms
    while not lab.proposed[relay, silent]:
        lab.step()
        assert lab.now < until
    assert not lab.proposed[relay, voter]


