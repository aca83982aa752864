"""The exchange of votes between real drivers in memory (vote_lab.py). Frames and copies are counted; time is the lab's
own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Key
from p2p.base.limits import MAX_BUNDLE, MAX_BUNDLE_MESSAGES, MAX_POOL_OTHERS, MAX_POOL_ROUNDS
from p2p.consensus import wire
from p2p.consensus.evidence import evidence_of_votes
from p2p.consensus.messages import RoundCertificate, SignedProposal, SignedVote, Vote, VoteType, sign_vote
from p2p.consensus.relays import PACE, Pace, Wait, order
from p2p.consensus.timing import Timing
from p2p.consensus.validators import ProposerSchedule, ValidatorSet, first_priorities
from p2p.consensus.vote_frames import Bundle, Proposed, Want, bits, has_bit, pack, parse_frame, parse_message
from p2p.consensus.vote_neighbours import MESH
from p2p.consensus.vote_pool import Item, VotePool
from p2p.consensus.vote_wants import PUT_OFF, Wants
from tests.consensus.vote_lab import CALM, Lab, keys

RELAYS = Pace(small=0)  # relays in a set of any size
HEIGHTS = 4
# timers as on a real network, so that lost proposals and rounds that fail are part of it
REAL = Timing(
    propose_ms=600, vote_ms=300, delta_ms=200, block_interval_ms=50, empty_block_interval_ms=60, rebroadcast_ms=1000,
    precision_ms=1000, delay_ms=10**6,
)
PACED = replace(CALM, block_interval_ms=1000, empty_block_interval_ms=1001)


def vote(key: Key, kind: VoteType, block_id: bytes | None, round_: int = 0, height: int = 1) -> SignedVote:
    return sign_vote(key, Vote("sim", kind, height, round_, block_id, -1, key.public))


def relays_of(lab: Lab, height: int) -> list[int]:
    """Numbers of all peers by rank at a height to come, from a set whose turns go round."""
    members = lab.drivers[0].validators
    schedule = ProposerSchedule(members, first_priorities(members))
    places = {key.public: place for place, key in enumerate(lab.keys)}
    return [places[schedule(height - 1 + ahead)] for ahead in range(len(members.members))]


# -- what it costs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 8])
def test_in_a_small_set_each_vote_crosses_each_link_once(count: int) -> None:
    lab = Lab(count)
    lab.run(1)
    lab.frames.clear()
    lab.carried.clear()
    lab.run(1 + HEIGHTS)
    assert set(lab.carried.values()) == {1}
    assert sum(lab.frames.values()) <= HEIGHTS * 2 * (count - 1) * (count + 2), "and each relay's, a wait later"
    assert not lab.wants


@pytest.mark.parametrize(("count", "latency_ms"), [(16, 2), (16, 30), (48, 10)])
def test_in_a_larger_set_a_vote_reaches_each_peer_about_once_in_few_frames(count: int, latency_ms: int) -> None:
    """Sent to everybody, votes would be 2 x (n - 1) frames a peer and block; the budget at 48 is a fifth of that."""
    lab = Lab(count, latency_ms=latency_ms)
    lab.run(2)
    lab.frames.clear()
    lab.carried.clear()
    lab.run(2 + HEIGHTS)
    received = Counter((to, raw) for (_, to), raw in lab.carried for _ in range(lab.carried[(_, to), raw]))
    assert sum(received.values()) / len(received) < 1.35, "copies of a vote at one peer"
    assert sum(lab.frames.values()) / HEIGHTS / count < 18, "frames of a peer for a block"
    assert not lab.wants
    assert not lab.blamed


def trickle(lab: Lab, voters: list[int], pause_ms: int) -> list[tuple[int, int]]:
    """Votes reach the first relay one by one. Gives (ms after the first, votes) of each frame that it then owes to
    somebody who did not vote."""
    relay, silent = relays_of(lab, 1)[0], relays_of(lab, 1)[-1]
    exchange = lab.exchanges[relay]
    found: list[tuple[int, int]] = []
    lab.drivers[relay].begin()
    for at in range(400):
        if at % pause_ms == 0 and at // pause_ms < len(voters):
            who = voters[at // pause_ms]
            frame = encode(Bundle(0, (pack(vote(lab.keys[who], VoteType.PREVOTE, None)),)))
            assert any(lab.exchanges[relay].receive(str(who), frame, lab.now + at))
        if str(silent) in exchange.advance(lab.now + at):
            sent = exchange.frame(str(silent), lab.now + at)
            frame_ = parse_frame(sent) if sent is not None else None
            if isinstance(frame_, Bundle):
                found.append((at, len(frame_.messages)))
    return found


def test_a_relay_hands_on_a_quorum_in_one_frame_when_it_is_one() -> None:
    lab = Lab(16)
    others = relays_of(lab, 1)[1:-1]
    pause_ms = 4
    found = trickle(lab, others[:11], pause_ms)
    assert found[0][1] == 11, "more than two thirds of sixteen"
    assert len(found) == 1
    assert found[0][0] <= 10 * pause_ms + PACE.tick_ms, "no later than the tick after"


def test_a_relay_holds_votes_that_make_no_quorum_for_a_wait_at_most() -> None:
    lab = Lab(16)
    others = relays_of(lab, 1)[1:-1]
    found = trickle(lab, others[:3], 1)
    assert [count for _, count in found] == [3]
    assert found[0][0] <= Wait(PACE).ms + PACE.tick_ms


def test_votes_that_come_slowly_and_make_no_quorum_share_a_frame_for_each_wait() -> None:
    lab = Lab(16)
    others, pause_ms = relays_of(lab, 1)[1:-1], Wait(PACE).ms // 3
    found = trickle(lab, others[:6], pause_ms)
    assert sum(count for _, count in found) == 6
    assert len(found) <= 6 // 3 + 1


def test_what_comes_when_a_quorum_is_here_is_not_handed_on() -> None:
    lab = Lab(16)
    lab.run(1 + HEIGHTS)
    for driver in lab.drivers:
        assert driver.previous is not None
        held = len(driver.previous.votes.votes(0, VoteType.PREVOTE))
        assert 11 <= held <= 16
    assert sum(len(d.previous.votes.votes(0, VoteType.PREVOTE)) < 16 for d in lab.drivers if d.previous) >= 8


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [1, 3])
def test_dead_relays_cost_a_wait_each_and_no_round(deaf: int) -> None:
    """Their streams stay open, and nothing comes or goes."""
    lab = Lab(16)
    calm_ms = lab.run(1)
    ranks = relays_of(lab, 2)[:deaf]
    lab.drops = lambda source, to, data: source in ranks or to in ranks
    others = [who for who in range(16) if who not in ranks]
    spent_ms = 0
    while any(lab.apps[who].height() < 2 for who in others):
        spent_ms += lab.step()
    waits = 2 * (deaf + 1) * lab.exchanges[others[0]].wait.ms  # of prevotes and of precommits
    assert spent_ms <= calm_ms + waits
    assert deaf == 3 or all(source in ranks for source, _ in lab.wants), "with one, nobody else had to ask"


@pytest.mark.parametrize("friends", [1, 2])
def test_a_relay_that_serves_the_other_relays_only_delays_the_rest_by_a_wait_each(friends: int) -> None:
    lab = Lab(16, timing=PACED)
    lab.run(1)
    liar, *served = relays_of(lab, 2)[: 1 + friends]
    lab.drops = lambda source, to, data: source == liar and to not in served
    spent_ms = lab.run(2)
    waits = 2 * (friends + 2) + 1  # of votes, and of the proposal
    assert spent_ms < PACED.block_interval_ms + waits * lab.exchanges[0].wait.ms
    assert not lab.wants, "the next rank takes over"


def test_who_missed_every_vote_of_a_height_asks_and_is_told_all() -> None:
    lab = Lab(4, timing=PACED)
    lab.run(1)
    until = lab.now + PACED.block_interval_ms + 200
    lab.drops = lambda source, to, data: to == 3 and lab.now < until
    spent_ms = lab.run(2)
    assert spent_ms < PACED.block_interval_ms + 200 + 5 * PACE.want_ms
    assert lab.wants
    assert {source for source, _ in lab.wants} == {3}


# no shrinking: a whole network does not get simpler, and it takes very long
@settings(max_examples=10, phases=(Phase.explicit, Phase.generate))
@given(
    st.integers(0, 10**6), st.sampled_from([4, 7, 10]), st.sampled_from([0.1, 0.3, 0.5]),
    st.sampled_from([PACE, RELAYS, Pace(small=0, relays=1)]),
)
@example(130, 4, 0.5, RELAYS)  # two had decided; what the others lacked of that height had been sent once, and lost
def test_everybody_gets_a_quorum_whatever_is_lost(seed: int, count: int, loss: float, pace: Pace) -> None:
    lab = Lab(count, pace=pace, timing=REAL, loss=loss, seed=seed)
    lab.run(3, limit_ms=120_000)
    assert not lab.blamed


@pytest.mark.parametrize("pace", [PACE, RELAYS])
def test_peers_without_a_link_get_each_other_s_votes_by_way_of_a_relay(pace: Pace) -> None:
    """All of three votes are needed; each of two misses the other's, and need not ask."""
    lab = Lab(3, pace=pace, cut=[(0, 1)])
    lab.run(12)  # until the wait has been learnt
    spent_ms = lab.run(21)
    assert spent_ms < 9 * (2 * 4 + 2) * PACE.wait_least_ms, "two kinds of votes, and the proposal"
    assert not lab.wants
    assert not lab.blamed


def test_a_peer_that_restarts_within_a_height_asks_for_what_it_lost() -> None:
    """Its new exchange knows nothing; streams are new on both sides."""
    lab = Lab(4, timing=REAL)
    lab.run(2)
    lab.restart(2)
    lab.run(5)
    assert not lab.blamed


def test_who_comes_back_is_given_our_vote_again() -> None:
    lab = Lab(4)
    exchange = lab.exchanges[0]
    exchange.broadcast(wire.pack(vote(lab.keys[0], VoteType.PREVOTE, None), 1), lab.now)
    given = {peer: exchange.frame(peer, lab.now) for peer in exchange.advance(lab.now)}
    assert exchange.advance(lab.now + 100) == [], "nobody is given it twice"
    exchange.down("2")
    exchange.up("2", lab.keys[2].public, lab.now + 100)
    assert exchange.advance(lab.now + 100) == ["2"]
    assert exchange.frame("2", lab.now + 100) == given["2"]


@pytest.mark.parametrize("pace", [PACE, RELAYS])
@pytest.mark.parametrize("count", [4, 10])
def test_two_votes_for_one_slot_become_evidence_at_everybody(count: int, pace: Pace) -> None:
    """One half hears the one, the other half the other. The bit for a vote says that there is one, not which."""
    lab = Lab(count, pace=pace, timing=REAL)
    lab.run(1)
    key = lab.keys[0]
    lab.dead = {0}
    one, two = (pack(vote(key, VoteType.PREVOTE, block, height=2)) for block in (None, bytes(32)))
    for who in range(1, count):
        lab.send(0, who, encode(Bundle(0, (one if who % 2 else two,))))
    lab.run(4, limit_ms=60_000)
    assert all(key.public in lab.drivers[who].evidence.offenders() for who in range(1, count))
    assert not lab.blamed


def certificate(lab: Lab, voters: list[int], round_: int = 1) -> RoundCertificate:
    votes = (vote(lab.keys[who], VoteType.PRECOMMIT, None, round_ - 1) for who in voters)
    return RoundCertificate(1, round_, tuple(sorted(votes, key=lambda signed: signed.vote.validator)))


def test_a_certificate_that_is_said_again_goes_to_everybody() -> None:
    """Who restarted has lost it, is no relay, and the relays have it from the first time (seed 1083)."""
    lab = Lab(10, pace=RELAYS)
    exchange, relay, at = lab.exchanges[0], str(relays_of(lab, 1)[0]), lab.now
    mine = certificate(lab, list(range(7)))
    told: set[str] = set()
    for again in range(2):
        exchange.broadcast(wire.pack(mine, again), at)
        told.clear()
        for _ in range(20):
            at += exchange.wait.ms
            told |= {peer for peer in exchange.advance(at) if exchange.frame(peer, at)}
        list(exchange.receive(relay, encode(Bundle(0, (pack(mine),))), at))
        at += 1
    assert told >= {str(who) for who in range(1, 10)} - {relay}


def test_a_repeat_of_others_is_no_news() -> None:
    """Else whoever repeats something often enough keeps a peer from asking for what it lacks (seed 1083)."""
    lab = Lab(4)
    exchange = lab.exchanges[0]
    first, again = (encode(Bundle(0, (pack(certificate(lab, voters)),))) for voters in ([1, 2, 3], [0, 1, 2]))
    assert next(exchange.receive("1", first, lab.now)) is not None
    for who in range(4):
        lab.take(0, vote(lab.keys[who], VoteType.PRECOMMIT, None, 0))
    due_ms = exchange._wants.due_ms
    lab.now += CALM.forward_again_ms
    assert list(exchange.receive("2", again, lab.now)) == [None, None]
    assert exchange.passed == 2, "and yet it is passed on"
    assert exchange._wants.due_ms == due_ms


@given(st.lists(st.integers(1, PACE.want_ms), min_size=PUT_OFF * PACE.want_ms, max_size=PUT_OFF * PACE.want_ms))
def test_news_put_a_question_off_but_not_for_ever(pauses_ms: list[int]) -> None:
    """Each vote is news once, so a liar with many of them could spin them out."""
    wants, now = Wants(PACE, keys(4)[0].public), 1000
    wants.follow((1, 0), now, 0)
    for pause_ms in pauses_ms:
        now += pause_ms
        if wants.is_due(now):
            break
        wants.news(now, 0)
    assert wants.is_due(now)
    assert PACE.want_ms <= now - 1000 <= (PUT_OFF + 1) * PACE.want_ms


# -- lies ---------------------------------------------------------------------------------------------------------


def test_who_claims_to_lack_everything_for_ever_gets_it_seldom() -> None:
    lab = Lab(4)
    lab.run(1)
    frames = lab.frames[1, 0]
    question = encode(Want(1, 0, b"", b"", (), ()))
    for _ in range(1000):
        lab.now += 10
        lab.take_frame(1, "0", question)
    assert lab.frames[1, 0] - frames <= 24, "ten seconds of questions, each for the proposal and votes"


def test_who_claims_to_have_everything_harms_itself_alone() -> None:
    lab = Lab(4)
    lab.run(1)
    every = bits([True] * 4)
    for who in (1, 2, 3):
        lab.take_frame(who, "0", encode(Want(2, 0, every, every, (), ())))
    lab.run(3)


@pytest.mark.parametrize("height", [0, 5, 2**63 - 1])
@pytest.mark.parametrize("round_", [0, 2**32 - 1])
def test_a_question_about_another_height_is_not_answered(height: int, round_: int) -> None:
    lab = Lab(4)
    lab.run(2)
    frames = Counter(lab.frames)
    lab.take_frame(1, "0", encode(Want(height, round_, b"", b"", (), ())))
    assert lab.frames == frames


def test_who_is_a_height_behind_gets_the_precommits_that_decided_it_when_it_asks() -> None:
    lab = Lab(4)
    lab.run(1)
    lab.drops = lambda source, to, data: to == 3
    lab.dead = {3}
    lab.run(2)
    exchange = lab.exchanges[0]
    list(exchange.receive("3", encode(Want(2, 0, b"", b"", (), ())), lab.now))
    exchange.advance(lab.now + 1000)
    frames = [parse_frame(frame) for frame in iter(lambda: exchange.frame("3", lab.now + 1000), None)]
    proposed, bundle = frames
    assert isinstance(proposed, Proposed), "its block, too"
    said = wire.parse(proposed.proposal)
    assert isinstance(said, SignedProposal)
    assert said.proposal.height == 2
    assert isinstance(bundle, Bundle)
    told = [wire.parse(raw) for raw in bundle.messages]
    precommits = [m for m in told if isinstance(m, SignedVote) and m.vote.type is VoteType.PRECOMMIT]
    assert len(precommits) >= 3
    assert {m.vote.height for m in precommits} == {2}


@pytest.mark.parametrize("round_", [0, 1])
def test_what_decided_a_height_is_given_again_to_who_asks_again(round_: int) -> None:
    """It may have been lost on the way, and nobody else repeats it. round_: the asker's, which may be a later one."""
    lab = Lab(4)
    lab.run(1)
    lab.drops = lambda source, to, data: to == 3
    lab.dead = {3}
    lab.run(2)
    exchange = lab.exchanges[0]
    for _ in range(3):
        lab.now += 20_000
        list(exchange.receive("3", encode(Want(2, round_, b"", b"", (), ())), lab.now))
        exchange.advance(lab.now + 1000)
        frames = [parse_frame(frame) for frame in iter(lambda: exchange.frame("3", lab.now + 1000), None)]
        told = [wire.parse(raw) for frame in frames if isinstance(frame, Bundle) for raw in frame.messages]
        assert sum(isinstance(one, SignedVote) and one.vote.type is VoteType.PRECOMMIT for one in told) >= 3


BALLOT = vote(keys(4)[0], VoteType.PREVOTE, None)
BAD = [
    b"", b"\xff", encode(["bundle", 0]), encode(["bundle", 0, [b"\x80"]]), encode(["want", 1, 0, bytes(17), b""]),
    encode(["want", -1, 0, b"", b""]), encode(["other", 0, []]),
    encode(["bundle", 0, [b""] * (MAX_BUNDLE_MESSAGES + 1)]), encode(["bundle", 0, [bytes(MAX_BUNDLE)]]),
    encode(Bundle(0, (wire.pack(BALLOT, 1),))), encode(Bundle(0, (pack(BALLOT)[:-1],))),
    encode(Bundle(0, (pack(SignedVote(BALLOT.vote, bytes(64))),))),
    encode(Bundle(0, (pack(vote(Key(bytes(32)), VoteType.PREVOTE, None)),))),
]


@pytest.mark.parametrize("data", BAD)
def test_what_is_wrong_for_everybody_costs_its_sender_and_changes_nothing(data: bytes) -> None:
    lab = Lab(4)
    with pytest.raises(RemoteProtocolError):
        list(lab.exchanges[1].receive("0", data, lab.now))
    assert len(lab.exchanges[1]._pool) == 0


def test_what_cannot_be_judged_here_is_nobody_s_fault_and_not_kept() -> None:
    lab = Lab(4)
    for height in (3, 10**6):
        frame = encode(Bundle(0, (pack(vote(lab.keys[0], VoteType.PREVOTE, None, height=height)),)))
        assert [m for m in lab.exchanges[1].receive("0", frame, lab.now) if m is not None] == []


# -- those who do not vote, and sets that are too large for streams -----------------------------------------------


@pytest.mark.parametrize("pace", [PACE, RELAYS])
def test_followers_get_two_frames_a_block_from_each_peer_that_serves_them(pace: Pace) -> None:
    lab = Lab(4, followers=1, pace=pace, cut=[(4, 0), (4, 1)])
    lab.run(1)
    lab.frames.clear()
    lab.run(1 + HEIGHTS)
    assert lab.frames[2, 4] <= 2 * (HEIGHTS + 1), "the proposal that was decided, and what decided it"
    assert lab.frames[2, 4] + lab.frames[3, 4] >= 2 * HEIGHTS
    assert lab.frames[4, 2] == lab.frames[4, 3] == 0, "it says nothing and asks for nothing"


def test_beyond_the_limit_bundles_go_through_the_mesh() -> None:
    lab = Lab(5, pace=Pace(direct=4))
    lab.run(3)
    assert not lab.wants
    assert not lab.blamed
    assert all(neighbour.bundles == 0 for exchange in lab.exchanges for neighbour in exchange.neighbours)


def test_a_repeat_on_the_mesh_has_other_bytes() -> None:
    lab = Lab(5, pace=Pace(direct=4))
    exchange, mine = lab.exchanges[0], wire.pack(vote(lab.keys[0], VoteType.PREVOTE, None), 1)
    frames = []
    for at in (0, CALM.rebroadcast_ms):
        exchange.broadcast(mine, lab.now + at)
        assert exchange.advance(lab.now + at) == [MESH]
        frames.append(exchange.frame(MESH, lab.now + at))
    assert None not in frames
    assert len(set(frames)) == 2


def test_what_the_mesh_gave_back_is_repeated_all_the_same() -> None:
    """Before, a vote that came back once was never said again, and whoever had missed it waited for ever: one of 60
    lossy networks of the simulator stood still."""
    lab = Lab(5, pace=Pace(direct=4))
    exchange, mine = lab.exchanges[0], wire.pack(vote(lab.keys[0], VoteType.PREVOTE, None), 1)
    exchange.broadcast(mine, lab.now)
    assert exchange.advance(lab.now) == [MESH]
    frame = exchange.frame(MESH, lab.now)
    assert frame is not None
    assert not any(exchange.receive(MESH, frame, lab.now))
    later = lab.now + CALM.rebroadcast_ms
    exchange.broadcast(mine, later)
    assert exchange.advance(later) == [MESH]
    assert exchange.frame(MESH, later) is not None


def test_what_left_just_now_is_not_repeated_with_the_rest() -> None:
    lab = Lab(16)
    author = relays_of(lab, 1)[-1]
    exchange, mine = lab.exchanges[author], wire.pack(vote(lab.keys[author], VoteType.PREVOTE, None), 1)
    exchange.broadcast(mine, lab.now)
    first = exchange.advance(lab.now)
    assert len(first) == PACE.relays
    for peer in first:
        assert exchange.frame(peer, lab.now) is not None
    early, later = lab.now + CALM.rebroadcast_ms - 1, lab.now + CALM.rebroadcast_ms
    exchange.broadcast(mine, early)
    assert not set(exchange.advance(early)) & set(first), "they have it; only the next rank gets it now"
    exchange.broadcast(mine, later)
    assert set(first) < set(exchange.advance(later)), "rule R: everybody, also those that got it"


# -- parts --------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=128))
def test_bitmaps(flags: list[bool]) -> None:
    bitmap = bits(flags)
    assert [has_bit(bitmap, at) for at in range(len(flags))] == flags
    assert not has_bit(bitmap, len(bitmap) * 8)


def test_a_message_in_a_bundle_has_one_encoding() -> None:
    ballot = vote(keys(4)[0], VoteType.PREVOTE, None)
    assert parse_message(pack(ballot)) == ballot
    with pytest.raises(RemoteProtocolError):
        parse_message(wire.pack(ballot, 7))


def test_ranks_follow_the_turns_and_name_each_validator_once() -> None:
    members = ValidatorSet.of([(key.public, 1 + at % 3) for at, key in enumerate(keys(48))])
    turns = ProposerSchedule(members, first_priorities(members))
    for round_ in (0, 1, 7):
        ranks = order(members, turns, round_)
        assert ranks[0] == turns(round_)
        assert sorted(ranks) == [key for key, _ in members.members]
    assert turns.elections < 48, "a number in a message must not cause work"


def test_a_wait_follows_what_quorums_take_within_its_bounds() -> None:
    wait = Wait(PACE)
    for _ in range(1000):
        wait.took(10**9)
    assert wait.ms == PACE.wait_most_ms
    for _ in range(200):
        wait.took(0)
    assert wait.ms == PACE.wait_least_ms


def test_a_pool_is_bounded() -> None:
    members = ValidatorSet.of([(key.public, 1) for key in keys(4)])
    pool, key = VotePool(1, members), keys(4)[0]
    for round_ in range(3 * MAX_POOL_ROUNDS):
        one = vote(key, VoteType.PREVOTE, None, round_)
        assert pool.add(Item(pack(one), one, 1, 0))
    assert len(pool) == MAX_POOL_ROUNDS
    assert pool.rounds()[0] == 2 * MAX_POOL_ROUNDS
    old = vote(key, VoteType.PREVOTE, None, 1)
    assert not pool.add(Item(pack(old), old, 1, 0))
    for height in range(2 * MAX_POOL_OTHERS):
        pair = vote(key, VoteType.PREVOTE, None, 0, height), vote(key, VoteType.PREVOTE, bytes(32), 0, height)
        note = wire.EvidenceNote(1, evidence_of_votes(pair))
        pool.add(Item(pack(note), note, 1, 0))
    assert len(pool) == MAX_POOL_ROUNDS + MAX_POOL_OTHERS


def test_a_vote_that_the_driver_never_took_is_taken_when_it_comes_again() -> None:
    """Its queue was full. Nobody sends a vote again that was taken once, so the bytes alone must not decide."""
    lab = Lab(4, timing=REAL)
    exchange, frame = lab.exchanges[1], encode(Bundle(0, (pack(vote(lab.keys[0], VoteType.PREVOTE, None)),)))

    def heard(at_ms: int) -> list[wire.Wire]:
        return [m for m in exchange.receive("0", frame, lab.now + at_ms) if m is not None]

    assert len(heard(0)) == 1
    assert heard(10) == []
    lab.now += 2000
    assert len(heard(0)) == 1


def test_two_frames_to_one_neighbour_are_a_tick_apart() -> None:
    lab = Lab(4)
    exchange = lab.exchanges[0]
    exchange.broadcast(wire.pack(vote(lab.keys[0], VoteType.PREVOTE, None), 1), lab.now)
    assert exchange.advance(lab.now) == ["1", "2", "3"]
    assert all(exchange.frame(peer, lab.now) for peer in ("1", "2", "3"))
    exchange.broadcast(wire.pack(vote(lab.keys[0], VoteType.PRECOMMIT, None), 2), lab.now + 1)
    assert exchange.advance(lab.now + 1) == []
    assert exchange.due_ms() == lab.now + PACE.tick_ms
    assert exchange.advance(lab.now + PACE.tick_ms) == ["1", "2", "3"]
