"""Rule Y: a date is believed or not once, when a fresh proposal arrives, and that moves one prevote. Clocks that
are wrong are said to be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key
from p2p.consensus import wire
from p2p.consensus.certificates import polka_certificate
from p2p.consensus.clock import BLOCKS, ClockWatch
from p2p.consensus.driver import Driver
from p2p.consensus.events import Broadcast, Committed, Output, ProposalArrived, ProposeNow, SetTimer, StartHeight
from p2p.consensus.header import make_block
from p2p.consensus.messages import Block, Proposal, SignedProposal, SignedVote, Vote, VoteType, sign_vote
from p2p.consensus.pacing import Pacing
from p2p.consensus.round import Step, TimeoutKind
from p2p.consensus.timing import Timing
from tests.consensus.test_engine import KEYS, App, Guard

T = Timing()
NOW = 1_000_000


class Seat:
    """One validator's driver, its clock in the test's hand."""

    def __init__(self, key: Key, app: App | None = None, guard: Guard | None = None) -> None:
        self.now_ms = NOW
        self.app, self.guard, self.key = app or App(), guard or Guard(), key
        self.driver = Driver(
            key=key, network="sim", app=self.app, guard=self.guard, timing=T, clock=lambda: self.now_ms
        )
        self.out = self.driver.begin()

    def votes(self, out: list[Output]) -> list[tuple[VoteType, int, bool]]:
        """Own votes in what goes out: (kind, round, for a block)."""
        said = [wire.parse(one.data) for one in out if isinstance(one, Broadcast)]
        return [(m.vote.type, m.vote.round, m.vote.block_id is not None) for m in said if isinstance(m, SignedVote)]


def maker(round_: int = 0) -> Key:
    public = Seat(KEYS[0]).driver.machine.proposer_of(round_)
    return next(key for key in KEYS if key.public == public)


def others(*not_these: Key) -> list[Key]:
    return [key for key in KEYS if key not in not_these]


def proposal(block: Block, key: Key, round_: int = 0, pol: int = -1) -> SignedProposal:
    body = Proposal("sim", block.header.height, round_, block.block_id, pol, key.public)
    return SignedProposal(body, key.sign(Domain.PROPOSAL, "sim", encode(body)), block)


def dated(time_ms: int, key: Key, round_: int = 0, app: App | None = None) -> Block:
    return make_block(app or App(), key, "sim", round_, time_ms, ())


def vote(key: Key, kind: VoteType, block: Block | None, round_: int = 0, vr: int = -1, height: int = 1) -> SignedVote:
    return sign_vote(key, Vote("sim", kind, height, round_, block.block_id if block else None, vr, key.public))


def watcher() -> Seat:
    """A validator whose turn is neither of the first two rounds."""
    return Seat(others(maker(0), maker(1))[0])


FOR, NIL = [(VoteType.PREVOTE, 0, True)], [(VoteType.PREVOTE, 0, False)]


@pytest.mark.parametrize(("off_ms", "round_", "timely"), [
    (0, 0, True), (T.precision_ms, 0, True), (T.precision_ms + 1, 0, False), (10_000, 0, False), (10_000, 99, False),
    (-T.delay_ms - T.precision_ms, 0, True), (-T.delay_ms - T.precision_ms - 1, 0, False),
    (-T.delay_ms - T.precision_ms - 1, 1, True),
    (-T.delay_ms * 2, 8, True), (-T.delay_ms * 2, 6, False), (-10**9, 2**31 - 1, False),
])
def test_the_bounds_of_a_date(off_ms: int, round_: int, timely: bool) -> None:
    assert T.is_timely(NOW + off_ms, NOW, round_) is timely


def test_the_parameters_fit_the_timeouts() -> None:
    """No honest proposal between right clocks is lost to rule Y: it comes before the timeout, or too late for
    anything."""
    for round_ in range(200):
        assert T.delay_in(round_) > T.timeout_ms(TimeoutKind.PROPOSE, round_) > 2 * T.precision_ms
    assert T.delay_in(2**31 - 1) == T.delay_in(10**6), "a number from outside does not decide how large it grows"


def test_an_untimely_proposal_gets_nil_in_its_round_and_is_as_valid_as_before() -> None:
    seat, key = watcher(), maker()
    block = dated(NOW + 10_000, key)
    assert seat.votes(seat.driver.take(proposal(block, key))) == NIL
    assert seat.driver.machine.validity == {block.block_id: True}
    assert seat.votes(watcher().driver.take(proposal(dated(NOW, key), key))) == FOR, (
        "with another date it would have been taken"
    )


def test_a_polka_of_others_locks_what_we_found_untimely_and_precommits_decide_it() -> None:
    seat, key = watcher(), maker()
    block = dated(NOW + 10_000, key)
    seat.driver.take(proposal(block, key))
    out = [o for k in others(seat.key) for o in seat.driver.take(vote(k, VoteType.PREVOTE, block))]
    assert seat.votes(out) == [(VoteType.PRECOMMIT, 0, True)]
    assert seat.driver.machine.locked == (block.block_id, 0)
    out = [o for k in others(seat.key)[:2] for o in seat.driver.take(vote(k, VoteType.PRECOMMIT, block))]
    assert [o.block for o in out if isinstance(o, Committed)] == [block]


def test_a_proposal_with_a_polka_is_never_judged_for_time() -> None:
    """Round 1 proposes the block of round 0 again, and its date is as far off as ever."""
    seat, first, second = watcher(), maker(0), maker(1)
    block = dated(NOW + 10_000, first)
    seat.driver.take(proposal(block, first))
    for key in others(seat.key):
        seat.driver.take(vote(key, VoteType.PRECOMMIT, None))
    for key in others(seat.key):
        seat.driver.take(vote(key, VoteType.PREVOTE, block))
    polka = polka_certificate(seat.driver.machine.votes, 1, 0, block.block_id)
    skip = [vote(key, VoteType.PREVOTE, None, 1) for key in others(seat.key, second)]
    for one in skip:
        seat.driver.take(one)
    assert seat.driver.machine.round == 1
    again = replace(proposal(block, second, 1, 0), polka=polka)
    assert (VoteType.PREVOTE, 1, True) in seat.votes(seat.driver.take(again))


def test_what_counts_is_when_it_arrived() -> None:
    """However long its body, or the queue, took; and an early one by when it came, not by when its height began."""
    key = maker()
    late = watcher()
    late.now_ms = NOW + 60_000
    assert late.votes(late.driver.take(ProposalArrived(proposal(dated(NOW, key), key), NOW + 40))) == FOR
    late = watcher()
    late.now_ms = NOW + 60_000
    assert late.votes(late.driver.take(proposal(dated(NOW, key), key))) == NIL


def test_a_restart_finds_the_verdict_in_the_log_and_judges_no_time_again() -> None:
    """The clock is right again after the crash; the prevote that left before it was nil, and stays nil."""
    seat, key = watcher(), maker()
    block = dated(NOW + 10_000, key)
    seat.driver.take(proposal(block, key))
    again = Seat(seat.key, seat.app, seat.guard)
    assert not again.driver.signer.is_observing(), "the log leads to the last signature"
    machine = again.driver.machine
    assert (machine.validity, machine.untimely) == ({block.block_id: True}, {(0, block.block_id)})
    own = machine.votes.first(seat.key.public, 0, VoteType.PREVOTE)
    assert own is not None
    assert own.vote.block_id is None


def test_a_proposer_lets_its_clock_pass_the_last_block_and_never_waits_for_a_clock_that_is_wrong() -> None:
    for behind_ms, wait_ms in (
        (-1, 0), (0, 1), (400, 401), (2 * T.precision_ms - 1, 2 * T.precision_ms), (2 * T.precision_ms, 0), (30_000, 0)
    ):
        assert T.wait_ms(NOW + behind_ms, NOW) == wait_ms
    seat = Seat(maker())
    seat.app.last_time_ms = lambda: NOW + 400  # type: ignore[method-assign]
    out = seat.driver.take(StartHeight(1, even_if_empty=True))
    due = [one for one in out if isinstance(one, SetTimer) and isinstance(one.event, ProposeNow)]
    assert [one.delay_ms for one in due] == [401]
    assert seat.votes(out) == []
    seat.now_ms += due[0].delay_ms
    said = [wire.parse(one.data) for one in seat.driver.take(due[0].event) if isinstance(one, Broadcast)]
    made = next(m for m in said if isinstance(m, SignedProposal))
    assert made.block.header.time_ms == seat.now_ms == NOW + 401
    assert [one for one in seat.driver.take(due[0].event) if isinstance(one, Broadcast)] == [], (
        "a second alarm proposes nothing more"
    )
    wrong = Seat(maker())
    wrong.app.last_time_ms = lambda: NOW + 30_000  # type: ignore[method-assign]
    wrong.driver.take(StartHeight(1, even_if_empty=True))
    assert wrong.driver.machine.proposals[0][0].block.header.time_ms == NOW + 30_001


def test_a_proposer_whose_wait_outlasts_its_round_proposes_nothing() -> None:
    seat = Seat(maker())
    seat.app.last_time_ms = lambda: NOW + 400  # type: ignore[method-assign]
    out = seat.driver.take(StartHeight(1, even_if_empty=True))
    due = next(one.event for one in out if isinstance(one, SetTimer) and isinstance(one.event, ProposeNow))
    for key in others(seat.key)[:2]:
        seat.driver.take(vote(key, VoteType.PREVOTE, None, 1))
    assert (seat.driver.machine.round, seat.driver.machine.step) == (1, Step.PROPOSE)
    assert [one for one in seat.driver.take(due) if isinstance(one, Broadcast)] == []


@pytest.mark.parametrize(
    ("off_ms", "words"), [(0, ""), (400, ""), (-400, ""), (30_000, "30.0 s ahead"), (-30_000, "30.0 s behind")]
)
def test_a_peer_whose_clock_is_off_says_so_from_what_others_decide(off_ms: int, words: str) -> None:
    """Blocks are decided by the others; this one hears each proposal by a clock of its own."""
    seat = Seat(others(maker(0), maker(1))[0])
    for height in range(1, BLOCKS + 2):
        public = seat.driver.machine.proposer_of(0)
        key = next(k for k in KEYS if k.public == public)
        if key == seat.key:
            key = next(k for k in KEYS if k.public == seat.driver.machine.proposer_of(1))
        round_ = 0 if key.public == public else 1
        block = dated(NOW + 1000 * height, key, round_, seat.app)
        seat.now_ms = NOW + 1000 * height + off_ms
        seat.driver.take(proposal(block, key, round_))
        for k in others(seat.key):
            if seat.driver.height == height:
                seat.driver.take(vote(k, VoteType.PRECOMMIT, block, round_, height=height))
        assert seat.driver.height == height + 1
    status = seat.driver.status()
    assert words in status.clock if words else status.clock == ""
    assert status.clock_lag_ms == off_ms


def test_a_clock_that_is_set_right_is_no_longer_complained_of() -> None:
    watch = ClockWatch(Pacing(T))
    for _ in range(BLOCKS):
        watch.decided(NOW, NOW + 30_000)
    assert "ahead" in watch.warning()
    for _ in range(BLOCKS // 2 + 1):
        watch.decided(NOW, NOW + 20)
    assert watch.warning() == ""
    assert watch.lag_ms == 20


def test_one_strange_block_says_nothing_of_a_clock() -> None:
    watch = ClockWatch(Pacing(T))
    for _ in range(BLOCKS):
        watch.decided(NOW, NOW + 20)
    watch.decided(NOW, NOW - 60_000)
    assert watch.warning() == ""
