"""The round machine over a seeded network: agreement always, decisions once messages flow; single rules by label."""

from __future__ import annotations

import random

import pytest

from p2p.base.types import VERSION
from p2p.consensus.machine import Machine
from p2p.consensus.messages import NIL_ROUND, Block, Header, Proposal, SignedProposal, SignedVote, Vote, VoteType
from p2p.consensus.round import CastVote, Decide, Effect, Propose, ScheduleTimeout, Step, TimeoutKind
from p2p.consensus.validators import ValidatorSet

ZERO = bytes(32)
SIG = bytes(64)


def key(index: int) -> bytes:
    return bytes([index + 1]) * 32


def block(tag: int) -> Block:
    return Block(Header(VERSION, "sim", 1, 0, tag, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, b"", ZERO), (), None)


def proposal(block_: Block, round_: int, pol: int, by: bytes) -> SignedProposal:
    return SignedProposal(Proposal("sim", 1, round_, block_.block_id, pol, by), SIG, block_)


def vote(kind: VoteType, round_: int, block_id: bytes | None, by: bytes, vr: int = NIL_ROUND) -> SignedVote:
    return SignedVote(Vote("sim", kind, 1, round_, block_id, vr, by), SIG)


class Sim:
    """n machines, messages in random order with loss and repetition; timers fire at random while no message is left."""

    def __init__(self, seed: int, n: int = 4, crashed: int = 0, loss: float = 0.2) -> None:
        self.rng = random.Random(seed)
        self.loss = loss
        validators = ValidatorSet.of([(key(i), 1) for i in range(n)])
        self.machines = [Machine(key(i), validators, lambda r: key(r % n)) for i in range(n - crashed)]
        self.wires: list[tuple[int, SignedVote | SignedProposal]] = []
        self.timers: list[tuple[int, ScheduleTimeout]] = []
        self.sent: list[SignedVote | SignedProposal] = []
        self.decided: dict[int, bytes] = {}
        self.blocks: dict[bytes, Block] = {}
        self.tag = seed
        self.repeated = False

    def act(self, who: int, effects: list[Effect]) -> None:
        machine = self.machines[who]
        for effect in effects:
            if isinstance(effect, ScheduleTimeout):
                self.timers.append((who, effect))
            elif isinstance(effect, Decide):
                assert self.decided.setdefault(who, effect.block_id) == effect.block_id
            else:
                message: SignedVote | SignedProposal
                if isinstance(effect, Propose):
                    self.tag += 1
                    body = self.blocks[effect.block_id] if effect.block_id else block(self.tag * 100 + who)
                    self.blocks[body.block_id] = body
                    message = proposal(body, effect.round, effect.valid_round, machine.me)
                else:
                    assert isinstance(effect, CastVote)
                    message = vote(effect.type, effect.round, effect.block_id, machine.me, effect.valid_round)
                self.sent.append(message)
                self.wires += [(other, message) for other in range(len(self.machines)) if other != who]
                self.act(who, self.give(who, message))

    def give(self, who: int, message: SignedVote | SignedProposal) -> list[Effect]:
        machine = self.machines[who]
        return machine.on_proposal(message, True) if isinstance(message, SignedProposal) else machine.on_vote(message)

    def repeats_first(self) -> bool:
        """Once between two timers the engine repeats what it said; then a timer may fire."""
        self.repeated = not self.repeated
        return self.repeated

    def run(self, steps: int = 4000) -> None:
        for who, machine in enumerate(self.machines):
            self.act(who, machine.start())
        for step in range(steps):
            if len(self.decided) == len(self.machines):
                return
            chaos = step < 300  # then the network heals: nothing is lost, timers outlast messages
            if self.wires and (not chaos or self.rng.random() < 0.9):
                who, message = self.wires.pop(self.rng.randrange(len(self.wires)))
                if not chaos or self.rng.random() >= self.loss:
                    self.act(who, self.give(who, message))
            elif self.timers and not self.repeats_first():
                who, timer = self.timers.pop(self.rng.randrange(len(self.timers)))
                self.act(who, self.machines[who].on_timeout(timer.kind, timer.round))
            else:  # the engine repeats what it said
                self.wires += [(who, m) for m in self.sent for who in range(len(self.machines))]


@pytest.mark.parametrize("crashed", [0, 1])
def test_agreement_and_termination_over_seeds(crashed: int) -> None:
    for seed in range(150):
        sim = Sim(seed, crashed=crashed)
        sim.run()
        assert len(set(sim.decided.values())) == 1, f"seed {seed}: {sim.decided}"
        assert len(sim.decided) == len(sim.machines), f"seed {seed} did not terminate"


def test_two_of_four_decide_nothing() -> None:
    for seed in range(30):
        sim = Sim(seed, crashed=2)
        sim.run(1500)
        assert not sim.decided


def machine() -> Machine:
    m = Machine(key(3), ValidatorSet.of([(key(i), 1) for i in range(4)]), lambda r: key(r % 3))
    m.start()
    return m


def votes_in(
    m: Machine, kind: VoteType, round_: int, block_id: bytes | None, voters: range, vr: int = NIL_ROUND
) -> list[Effect]:
    return [e for i in voters for e in m.on_vote(vote(kind, round_, block_id, key(i), vr))]


def test_rule_p_prevotes_a_valid_proposal_and_nil_for_an_invalid_one() -> None:
    a = block(1)
    for valid, expected in ((True, a.block_id), (False, None)):
        assert machine().on_proposal(proposal(a, 0, -1, key(0)), valid) == [CastVote(VoteType.PREVOTE, 0, expected, -1)]


def locked_on(a: Block) -> Machine:
    m = machine()
    m.on_proposal(proposal(a, 0, -1, key(0)), True)
    effects = votes_in(m, VoteType.PREVOTE, 0, a.block_id, range(3))
    assert CastVote(VoteType.PRECOMMIT, 0, a.block_id, -1) in effects
    assert m.locked == (a.block_id, 0)
    votes_in(m, VoteType.PRECOMMIT, 0, None, range(2))
    m.on_vote(vote(VoteType.PRECOMMIT, 0, a.block_id, key(3)))
    m.on_timeout(TimeoutKind.PRECOMMIT, 0)
    assert m.round == 1
    return m


def test_lock_refuses_another_block_without_a_newer_polka() -> None:
    m = locked_on(block(1))
    assert m.on_proposal(proposal(block(2), 1, -1, key(1)), True) == [CastVote(VoteType.PREVOTE, 1, None, -1)]


def test_lock_opens_for_a_polka_at_or_after_its_round() -> None:
    m, b = locked_on(block(1)), block(2)
    m.on_timeout(TimeoutKind.PROPOSE, 1)
    votes_in(m, VoteType.PREVOTE, 1, b.block_id, range(3))
    votes_in(m, VoteType.PRECOMMIT, 1, None, range(3))
    m.on_timeout(TimeoutKind.PRECOMMIT, 1)
    assert m.on_proposal(proposal(b, 2, 1, key(2)), True)[0] == CastVote(VoteType.PREVOTE, 2, b.block_id, 1)


def test_rule_s_skips_to_a_round_where_more_than_a_third_is() -> None:
    m = machine()
    assert votes_in(m, VoteType.PREVOTE, 2, None, range(1)) == []
    votes_in(m, VoteType.PRECOMMIT, 2, None, range(1, 2))
    assert m.round == 2


def test_rule_d_decides_from_any_round() -> None:
    m, a = machine(), block(1)
    m.on_proposal(proposal(a, 0, -1, key(0)), True)
    m.on_timeout(TimeoutKind.PRECOMMIT, 0)
    assert votes_in(m, VoteType.PRECOMMIT, 0, a.block_id, range(3))[-1] == Decide(a.block_id, 0)
    assert m.step is Step.DECIDED


def test_rule_d_decides_nothing_that_the_application_calls_invalid() -> None:
    """However many precommit it: beyond a third of faulty weight this is what a peer still refuses by itself."""
    body = block(8)
    for valid, wanted in ((False, []), (True, [body.block_id])):
        machine = Machine(key(3), ValidatorSet.of([(key(i), 1) for i in range(4)]), lambda r: key(r % 4))
        machine.start()
        machine.on_proposal(proposal(body, 0, NIL_ROUND, key(0)), valid)
        effects = [e for i in range(3) for e in machine.on_vote(vote(VoteType.PRECOMMIT, 0, body.block_id, key(i)))]
        assert [e.block_id for e in effects if isinstance(e, Decide)] == wanted


def test_first_vote_counts_and_the_second_is_evidence() -> None:
    m = machine()
    m.on_vote(vote(VoteType.PREVOTE, 0, ZERO, key(0)))
    m.on_vote(vote(VoteType.PREVOTE, 0, None, key(0)))
    assert m.votes.weight_for(0, VoteType.PREVOTE, ZERO) == 1
    assert m.votes.weight_for(0, VoteType.PREVOTE, None) == 0
    assert list(m.votes.double) == [(key(0), 0, VoteType.PREVOTE)]


def test_a_proposal_of_another_than_the_proposer_leaves_no_trace() -> None:
    """Otherwise a stranger's proposal next to the right one would look like a conflict, and our own blocks would
    carry no evidence at all."""
    m, a = machine(), block(1)
    m.on_proposal(proposal(a, 0, -1, key(0)), True)
    m.on_proposal(proposal(block(2), 0, -1, key(1)), True)
    assert m.proposal_conflicts == {}
    m.on_proposal(proposal(block(3), 0, -1, key(0)), True)
    assert list(m.proposal_conflicts) == [(key(0), 0)]


def test_votes_of_far_rounds_are_bounded_per_validator() -> None:
    m = machine()
    for round_ in range(1, 200):
        m.on_vote(vote(VoteType.PREVOTE, round_ * 2, None, key(0)))
    assert len(m.votes.rounds_above(0)) <= 3


def test_the_newest_polka_is_known_also_when_its_round_is_over() -> None:
    """Rule O: after the round rule K does not change `valid`, but the polka itself is not forgotten. An invalid
    block never counts."""
    machine = Machine(key(3), ValidatorSet.of([(key(i), 1) for i in range(4)]), lambda r: key(r % 3))
    one, two = block(1), block(2)
    machine.start()
    machine.on_proposal(proposal(one, 0, NIL_ROUND, key(0)), valid=True)
    for by in (0, 1):
        machine.on_vote(vote(VoteType.PREVOTE, 1, None, key(by)))  # more than a third is in round 1
    assert machine.round == 1
    assert machine.newest_polka() is None
    for by in range(3):
        machine.on_vote(vote(VoteType.PREVOTE, 0, one.block_id, key(by)))
    assert machine.valid is None
    assert machine.newest_polka() == (one.block_id, 0)
    machine.on_proposal(proposal(two, 2, NIL_ROUND, key(2)), valid=False)
    for by in range(3):  # in round 2: of round 1 the first votes are nil, and a second one counts for nothing
        machine.on_vote(vote(VoteType.PREVOTE, 2, two.block_id, key(by)))
    assert machine.votes.weight_for(2, VoteType.PREVOTE, two.block_id) == 3
    assert machine.newest_polka() == (one.block_id, 0)
