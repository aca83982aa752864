"""Accept, ignore, reject, and what each costs. Work is counted in signatures looked at and elections held, never in
time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base import keys
from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_SEEN, MAX_TURNS
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.bodies import Bodies
from p2p.consensus.certificates import verify_round
from p2p.consensus.compact import shrink
from p2p.consensus.engine import ConsensusEngine
from p2p.consensus.evidence import evidence_of_votes
from p2p.consensus.machine import PROPOSALS_PER_ROUND
from p2p.consensus.messages import (
    PolkaCertificate,
    Proposal,
    RoundCertificate,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
    sign_vote,
)
from p2p.consensus.seen import Seen
from p2p.consensus.timing import Timing
from p2p.consensus.validators import ProposerSchedule, ValidatorSet, first_priorities, increment
from tests.consensus.test_engine import KEYS, SET, App, BodyApp, Guard, no_fetch
from tests.consensus.test_time import NOW, Seat, dated, maker, others, proposal, vote

MEMBERS = ValidatorSet.of(SET)
EXTREMES = [0, 1, 2, 3, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1]
STRANGER = Key(b"\x77" * 32)


class Work:
    """What one message costs: signatures looked at."""

    def __init__(self) -> None:
        self.signatures = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Each look at a signature is counted, whoever makes it; none is skipped by a memory of an earlier test."""
    done, real = Work(), keys.verify_raw

    def counted(*args: bytes) -> bool:
        done.signatures += 1
        return real(*args)

    monkeypatch.setattr(keys, "verify_raw", counted)
    monkeypatch.setattr(SignedVote, "verify", getattr(SignedVote.verify, "__wrapped__", SignedVote.verify))
    return done


def seat() -> Seat:
    return Seat(others(maker(0), maker(1))[0])


def bodies(one: Seat) -> Bodies:
    """Of a peer whose mempool is empty."""
    return Bodies(one.driver, "sim", lambda leaf: None)


def elections(one: Seat) -> int:
    turns = one.driver.machine.proposer_of
    assert isinstance(turns, ProposerSchedule)
    return turns.elections


def hear(one: Seat, message: wire.Wire, retry: int = 0) -> Outcome:
    """Judged by the driver, and taken when it says so."""
    outcome, found = one.driver.judge(wire.pack(message, retry))
    if found is not None:
        one.driver.take(found)
    return outcome


def signed_proposal(key: Key, round_: int, pol: int = -1, header_round: int | None = None) -> SignedProposal:
    block = dated(NOW, key, 0)
    header = replace(block.header, round=round_ if header_round is None else header_round)
    return proposal(replace(block, header=header), key, round_, pol)


# -- K-A: numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", [r for r in EXTREMES if r > 2])
@pytest.mark.parametrize("door", ["driver", "bodies", "last height"])
def test_a_proposal_of_a_far_round_costs_nothing(round_: int, door: str, work: Work) -> None:
    """497 bytes with round 2^31-1 once held every peer for an hour, whatever key had signed them."""
    one = seat()
    if door == "last height":
        decide(one)
    work.signatures, before = 0, elections(one)
    for key in KEYS:
        signed = signed_proposal(key, round_)
        if door == "bodies":
            outcome, found = bodies(one).judge(key.peer_id, shrink(wire.pack(signed, 0)))
            assert (outcome, found) == (Outcome.IGNORE, None)
        else:
            assert hear(one, signed) is Outcome.IGNORE
    assert work.signatures == 0
    assert elections(one) == before


def decide(one: Seat) -> None:
    """The others decide the height; what comes of it now is of the last one."""
    height = one.driver.height
    key = next(k for k in KEYS if k.public == one.driver.machine.proposer_of(0))
    block = dated(NOW + height * 1000, key, 0, one.app)
    one.now_ms = NOW + height * 1000
    one.driver.take(proposal(block, key))
    for k in KEYS:
        if one.driver.height == height:
            one.driver.take(vote(k, VoteType.PRECOMMIT, block, 0, height=height))
    assert one.driver.height == height + 1


NUMBER = st.one_of(st.sampled_from(EXTREMES), st.integers(0, 2**32 - 1))
ROUND_OR_NIL = st.one_of(st.sampled_from([-1, 0, 1, 2**31 - 2, 2**31 - 1]), st.integers(-1, 2**31 - 1))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["vote", "proposal", "polka", "round", "evidence", "early"]), who=st.integers(0, 4),
    numbers=st.lists(NUMBER, min_size=4, max_size=4), pol=ROUND_OR_NIL,
)
def test_no_number_in_a_signed_message_costs_more_than_the_set(
    kind: str, who: int, numbers: list[int], pol: int, work: Work
) -> None:
    """Rightly signed by a validator or a stranger, every field at any value: at most one look at each validator's
    signature and one at the proposal's, and the turns of one height."""
    key, (round_, other, third, height) = [*KEYS, STRANGER][who], numbers
    one = seat()

    def cast(by: Key, at: int) -> SignedVote:
        body = Vote("sim", VoteType(1 + third % 2), 1, at, None if other % 2 else bytes(32), pol, by.public)
        return sign_vote(by, body)

    made: dict[str, Callable[[], wire.Wire]] = {
        "vote": lambda: cast(key, round_),
        "proposal": lambda: signed_proposal(key, round_, pol, other),
        "polka": lambda: PolkaCertificate(1, other, bytes(32), tuple(cast(k, round_) for k in KEYS)),
        "round": lambda: RoundCertificate(1, other, tuple(cast(k, round_) for k in KEYS)),
        "evidence": lambda: wire.EvidenceNote(height % 5, evidence_of_votes((cast(key, round_), cast(key, other)))),
        "early": lambda: replace(
            signed_proposal(key, round_, pol), proposal=replace(signed_proposal(key, round_, pol).proposal, height=2)
        ),
    }
    message = made[kind]()
    work.signatures = 0
    hear(one, message)
    assert work.signatures <= len(KEYS) + 1
    assert elections(one) <= MAX_TURNS


@pytest.mark.parametrize("far", [50, 10**9, 2**31 - 2])
def test_a_round_far_ahead_that_more_than_a_third_votes_in_still_works(far: int) -> None:
    """By a certificate or vote by vote, also where each of them has voted in rounds between; its proposal is found
    and prevoted."""
    for whole in (True, False):
        one = seat()
        voters = others(one.key)[:2]
        if whole:  # what they said before, and is kept, must not stand in the way
            for at in (3, 5, 7):
                for key in voters:
                    hear(one, vote(key, VoteType.PREVOTE, None, at + KEYS.index(key)))
        there = sorted((vote(key, VoteType.PREVOTE, None, far) for key in voters), key=lambda v: v.vote.validator)
        said = [RoundCertificate(1, far, tuple(there))] if whole else there
        assert [hear(one, message) for message in said] == [Outcome.ACCEPT] * len(said)
        assert one.driver.machine.round == far
        key = next(k for k in KEYS if k.public == one.driver.machine.proposer_of(far))
        if key != one.key:
            block = dated(NOW, key, far)
            assert hear(one, proposal(block, key, far)) is Outcome.ACCEPT
            assert one.driver.machine.votes.first(one.key.public, far, VoteType.PREVOTE) is not None
        assert elections(one) <= MAX_TURNS


def test_turns_are_those_of_the_elections_and_begin_again() -> None:
    members = ValidatorSet.of([(key.public, at + 1) for at, key in enumerate(KEYS)])
    first = first_priorities(members)
    turns, (_, own) = ProposerSchedule(members, first), increment(members, first, 1)
    assert [turns(r) for r in range(1, 40)] == [increment(members, own, r)[0] for r in range(1, 40)]
    assert turns.elections == 40
    assert [turns(2**31 - 1 - r) for r in range(5)] == [turns((2**31 - 1 - r) % MAX_TURNS) for r in range(5)]
    assert turns.elections == MAX_TURNS


@pytest.mark.parametrize("shape", ["repeated", "unordered", "stranger", "too many"])
def test_a_certificate_whose_votes_are_not_one_of_each_is_refused_unverified(shape: str, work: Work) -> None:
    """28 kB of repeated senders once cost 20 ms at every peer."""
    each = sorted((vote(key, VoteType.PRECOMMIT, None) for key in KEYS), key=lambda v: v.vote.validator)
    votes = {
        "repeated": [each[0], *each], "unordered": each[::-1],
        "stranger": [*each, vote(STRANGER, VoteType.PRECOMMIT, None)], "too many": each * 32,
    }[shape]
    work.signatures = 0
    assert not verify_round(RoundCertificate(1, 1, tuple(votes)), "sim", MEMBERS)
    assert hear(seat(), RoundCertificate(1, 1, tuple(votes))) is not Outcome.ACCEPT
    assert work.signatures == 0


def test_a_certificate_of_votes_that_are_known_is_not_verified_again(work: Work) -> None:
    one = seat()
    votes = sorted((vote(key, VoteType.PRECOMMIT, None) for key in KEYS[:3]), key=lambda v: v.vote.validator)
    for each in votes:
        hear(one, each)
    work.signatures = 0
    assert hear(one, RoundCertificate(1, 1, tuple(votes))) is Outcome.ACCEPT
    assert work.signatures == 0


@pytest.mark.parametrize("places", [(0, 0), (0,) * 512, (1, 0), (0, 1, 1), (6,), (2**32 - 1,)])
def test_places_of_a_body_are_asked_for_once_each(places: tuple[int, ...]) -> None:
    """564 bytes with one place 512 times were once answered with 31 MB."""
    app, key = BodyApp(), maker()
    app.pool = [bytes([at]) for at in range(6)]
    engine = ConsensusEngine(
        key=key, network="sim", app=app, guard=Guard(), publish=_hush, timing=Timing(), clock=lambda: NOW,
        fetch=no_fetch
    )
    engine.driver.take(proposal(dated(NOW, key, 0, app), key))
    block = engine.driver.machine.proposals[0][0].block
    assert engine.body(1, block.block_id, (0, 2, 5)) == (b"\x00", b"\x02", b"\x05")
    with pytest.raises(RemoteProtocolError, match="places"):
        engine.body(1, block.block_id, places)


async def _hush(topic: str, data: bytes) -> None:
    del topic, data


# -- K-B: three outcomes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [0, 3, 10**9, 2**63 - 1])
@pytest.mark.parametrize("signed", [True, False])
def test_of_heights_that_nobody_here_can_judge_nothing_is_passed_on(height: int, signed: bool, work: Work) -> None:
    one, key = seat(), KEYS[0]
    ballot = sign_vote(key, Vote("sim", VoteType.PREVOTE, height, 0, None, -1, key.public))
    offer = signed_proposal(key, 0)
    body = replace(offer.proposal, height=height)
    offer = replace(offer, proposal=body, signature=key.sign(Domain.PROPOSAL, "sim", encode(body)))
    if not signed:
        ballot, offer = replace(ballot, signature=bytes(64)), replace(offer, signature=bytes(64))
    polka, skip = PolkaCertificate(height, 0, bytes(32), (ballot,)), RoundCertificate(height, 0, (ballot,))
    work.signatures = 0
    for message in (ballot, offer, polka, skip):
        assert one.driver.judge(wire.pack(message, 0)) == (Outcome.IGNORE, None)
    assert bodies(one).judge(key.peer_id, shrink(wire.pack(offer, 0))) == (Outcome.IGNORE, None)
    assert work.signatures == 0
    assert one.driver.size() == 0


def test_the_same_content_passes_once_and_again_when_its_repeat_is_due(work: Work) -> None:
    """Current votes under new retry counters once halved the block rate; a peer that missed one still hears the
    next repeat."""
    one, timing = seat(), Timing()
    ballots = [vote(KEYS[0], VoteType.PREVOTE, None), vote(KEYS[1], VoteType.PRECOMMIT, dated(NOW, maker()))]
    work.signatures = 0
    for _ in range(3):
        for message in ballots:
            heard = [hear(one, message, retry) for retry in range(50)]
            assert heard == [Outcome.ACCEPT, *[Outcome.IGNORE] * 49]
        one.now_ms += timing.rebroadcast_ms
    assert work.signatures == len(ballots), "the first time only"
    assert len(one.driver.signer._inputs) == len(ballots), "a repeat is no input"
    one.now_ms -= 10**6
    assert hear(one, ballots[0]) is Outcome.ACCEPT, "a clock that was set back silences nobody"


def test_a_forgery_does_not_stand_in_the_way_of_the_true_one() -> None:
    one, ballot = seat(), vote(KEYS[0], VoteType.PREVOTE, None)
    assert hear(one, replace(ballot, signature=bytes(64))) is Outcome.REJECT
    assert hear(one, ballot) is Outcome.ACCEPT
    one.now_ms += Timing().rebroadcast_ms
    assert hear(one, replace(ballot, signature=bytes(64))) is not Outcome.ACCEPT, (
        "a peer that has not heard the vote would blame us for it"
    )


def test_what_a_sender_says_beyond_its_due_goes_no_further() -> None:
    """The third vote of a slot, rounds beyond the bound, the ninth early vote: nobody here keeps them, so nobody is
    helped."""
    one, key, made = seat(), KEYS[0], [dated(NOW + at, maker()) for at in range(4)]
    assert [
        hear(one, vote(key, VoteType.PREVOTE, block)) for block in made
    ] == [Outcome.ACCEPT] * 2 + [Outcome.IGNORE] * 2
    assert [
        hear(one, vote(key, VoteType.PREVOTE, None, 10 * at)) for at in range(1, 6)
    ] == [Outcome.ACCEPT] * 2 + [Outcome.IGNORE] * 3
    early = [vote(key, VoteType.PREVOTE, None, at, height=2) for at in range(12)]
    assert [hear(one, each) for each in early] == [Outcome.ACCEPT] * 8 + [Outcome.IGNORE] * 4
    assert len(one.driver.machine.conflicts()) == 1


def test_evidence_is_refused_only_where_it_proves_nothing_to_anybody(work: Work) -> None:
    """Another height's set, an offender known already: nobody's fault, so not the forwarder's."""
    one = seat()

    def pair(key: Key, height: int = 1) -> bytes:
        blocks = (None, dated(NOW, maker()))
        one, two = (vote(key, VoteType.PREVOTE, block, height=height) for block in blocks)
        return evidence_of_votes((one, two))

    good = pair(KEYS[0])
    assert hear(one, wire.EvidenceNote(1, pair(STRANGER))) is Outcome.IGNORE, "of a set we do not know"
    assert hear(one, wire.EvidenceNote(1, pair(KEYS[0], 9))) is Outcome.IGNORE, "of a height to come"
    assert hear(one, wire.EvidenceNote(10**9, good)) is Outcome.IGNORE
    assert hear(one, wire.EvidenceNote(1, b"junk")) is Outcome.REJECT
    assert work.signatures == 0
    unsigned = replace(vote(KEYS[0], VoteType.PREVOTE, dated(NOW, maker())), signature=bytes(64))
    forged = evidence_of_votes((vote(KEYS[0], VoteType.PREVOTE, None), unsigned))
    for height in (0, 1, 2):
        assert hear(one, wire.EvidenceNote(height, forged)) is Outcome.REJECT
    assert hear(one, wire.EvidenceNote(1, good)) is Outcome.ACCEPT
    work.signatures = 0
    assert [hear(one, wire.EvidenceNote(1, good), retry) for retry in range(20)] == [Outcome.IGNORE] * 20
    assert work.signatures == 0


def test_a_whole_proposal_among_votes_is_refused_and_hides_no_compact_one() -> None:
    engine = ConsensusEngine(
        key=STRANGER, network="sim", app=App(), guard=Guard(), publish=_hush, timing=Timing(), clock=lambda: NOW
    )
    signed = proposal(dated(NOW, maker()), maker())
    assert engine.driver.inbox.judge_vote(signed) == (Outcome.REJECT, None)
    assert engine.deliver(maker().peer_id, "proposals", shrink(wire.pack(signed, 0))) is Outcome.ACCEPT


def test_a_body_s_proposal_keeps_the_time_of_its_first_arrival_within_bounds() -> None:
    one, key = seat(), maker()
    shell = bodies(one)
    for at in range(20):
        shell.judge(key.peer_id, shrink(wire.pack(proposal(dated(NOW + at, key), key), 0)))
    assert len(shell._arrivals) == PROPOSALS_PER_ROUND, "a third of one round is no news"
    first = Proposal("sim", 1, 0, dated(NOW, key).block_id, -1, key.public)
    one.now_ms += 9000
    assert shell.arrived_ms(first) == NOW


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5000)), max_size=60))
def test_a_content_is_fresh_only_for_a_while(steps: list[tuple[int, int]]) -> None:
    seen, last = Seen(750), dict[int, int]()
    for content, now_ms in steps:
        assert seen.is_fresh(content, now_ms) == (content in last and abs(now_ms - last[content]) < 750)
        seen.passed(content, now_ms)
        last[content] = now_ms


def test_what_is_remembered_of_passing_is_bounded() -> None:
    seen = Seen(750)
    for extra in range(MAX_SEEN + 50):
        seen.passed(("more", extra), 0)
    assert len(seen) == MAX_SEEN


def test_late_votes_of_somebody_who_is_convicted_cost_their_own_signature_only(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each late vote is one more conflict. Once all of them were proved again with each, which costs their square.
    The same holds after the offender is punished."""
    one = Seat(others(maker(0), maker(1))[0])
    bad = next(key for key in KEYS if key not in (one.key, maker()))
    block = dated(NOW, maker())
    one.driver.take(proposal(block, maker()))
    for key in KEYS:
        if one.driver.height == 1:
            one.driver.take(vote(key, VoteType.PRECOMMIT, block))
    assert one.driver.height == 2
    work.signatures = 0
    late = [vote(bad, kind, about, round_) for round_ in range(3) for kind in VoteType for about in (None, block)]
    for number, signed in enumerate(late):
        if number == len(late) // 2:
            assert one.driver.evidence.offenders() == {bad.public}
            monkeypatch.setattr(one.app, "punished", lambda: frozenset({bad.public}))
            assert one.driver.evidence.pending(one.driver.validators, one.app.punished()) == (), (
                "the chain has it: the pool forgets"
            )
        heard = one.driver.judge(wire.pack(signed, number))[1]
        if heard is not None:
            one.driver.take(heard)
    assert work.signatures <= len(late) + 2
