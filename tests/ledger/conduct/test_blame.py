"""Each penalty is tried twice: with an accuser that lies, and with a network that is down. Law: no honest participant
loses anything but the fee of an answer that nobody could check. "Who can be blamed" in docs/ledger-rules.md names the
test of each penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.types import AGENT_CAUSED, Status
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.state.records import Participant
from tests.ledger.lab import CLIENT, RULES, WINDOW, Lab, false_row, reputations
from tests.ledger.money.test_money import put_collateral
from tests.ledger.sprint_lab import RULES as SPRINT
from tests.ledger.sprint_lab import SprintLab

STAKE = 100_000
NODE, LIAR = 1, 7  # the honest executor, and the validator that lies about it
SILENT = None
Says = Callable[[bytes], "dict[str, Any] | None"]


def part(lab: Lab, node: bytes) -> Participant:
    found = lab.view.participant(node)
    assert found is not None
    return found


def staked(peers: int = 12, **change: Any) -> Lab:
    lab = Lab(peers, **{"epoch_blocks": 1000, **change})
    for node in lab.nodes:
        put_collateral(lab, node, STAKE)
        lab.view.put_participant(replace(part(lab, node), reputations=reputations(60)))
    return lab


def judge(lab: Lab, ids: list[bytes], says: Says) -> None:
    """Let the committees of all `ids` work until every inference has ended. says: what a validator's verdict is, as
    keywords of Lab.verdict; None: the validator is silent."""
    while waiting := [one for one in ids if not lab.inference(one).end_height]:
        for one in waiting:
            found = lab.inference(one)
            committee = found.committees[-1] if found.committees else None
            for node in committee.members if committee else ():
                what = says(node)
                if committee is None or what is None:
                    continue
                verdict = lab.verdict(one, node, **what)
                if not committee.revealing and node not in {seen.validator for seen in committee.commits}:
                    lab.commit(verdict)
                elif committee.revealing and node not in {seen.validator for seen in committee.verdicts}:
                    lab.reveal(verdict)
        lab.block()


def in_flight(lab: Lab, count: int, node: bytes, agent: int = 0) -> list[bytes]:
    """`count` answers of `node`, finished in one block; their committees are drawn."""
    found: list[bytes] = []
    while len(found) < count:
        signed = lab.start(agent=agent)
        if node in lab.inference(signed.inference_id).candidates:
            lab.finish(signed.inference_id, node)
            found.append(signed.inference_id)
    lab.block(1 + lab.genesis.validation_delay)
    return found


def untouched(lab: Lab, node: bytes) -> None:
    found = part(lab, node)
    assert (
        found.strikes, found.convictions, found.convicted_until, found.barred_until, found.suspended_until
    ) == (0, 0, 0, 0, 0)
    assert (found.collateral_micro, found.reputation, found.misses) == (STAKE, 60, 0)
    record = earnings.earning(lab.view, 0, node)
    assert record is None or record.fined_micro == 0
    seen = lab.view.conduct(node)
    assert (seen.struck, seen.outliers, seen.missed_faults, seen.watched_until) == (0, 0, 0, 0)
    assert seen.evidence.log_milli() <= 0


# -- what committees say: strike, fine, conviction and slash, M11, marks, M18 ------------------------------------------


@pytest.mark.parametrize("lie", [
    {"valid": False}, {"valid": False, "stage0": True}, {"withheld": True}, SILENT, {"row": false_row}],
                         ids=("invalid", "refused", "withheld", "silent", "invented"))
def test_one_that_lies_about_every_answer_costs_an_honest_executor_nothing(lie: dict[str, Any] | None) -> None:
    """One validator lies in every committee it is drawn for, in one of five ways."""
    lab = staked()
    liar = lab.nodes[LIAR]
    for _ in range(40):
        judge(lab, in_flight(lab, 1, lab.nodes[NODE]), lambda node: lie if node == liar else {})
    for node in lab.nodes:
        if node != liar:
            untouched(lab, node)
    assert lab.view.conduct(lab.nodes[NODE]).checked == 40
    assert lab.view.conduct(liar).duties >= 3, "it was on committees"


def test_the_liar_is_the_one_that_pays() -> None:
    """The control of the test above: its validators do find a fault, the liar's."""
    lab = staked()
    liar = lab.nodes[LIAR]
    for _ in range(30):
        judge(lab, in_flight(lab, 1, lab.nodes[NODE]), lambda node: {"valid": False} if node == liar else {})
    assert part(lab, liar).barred_until
    assert part(lab, liar).collateral_micro < STAKE


@pytest.mark.parametrize("agents", [0, 8], ids=["agent there", "agent away"])
@pytest.mark.parametrize("executors", [(1, 2), (9, 10)], ids=["executors there", "executors away"])
def test_half_of_the_network_is_away_and_nobody_is_penalised(agents: int, executors: tuple[int, ...]) -> None:
    """Nodes 6 to 11 send no verdicts and serve no payloads for two whole windows. Answers of nodes on both sides are
    being checked, and more are made meanwhile."""
    lab, away = staked(), set(range(6, 12))
    there = agents not in away or not set(executors) & away
    ids = [one for at in executors for one in in_flight(lab, 6, lab.nodes[at], agents)]

    def says(node: bytes) -> dict[str, Any] | None:
        if lab.nodes.index(node) in away and lab.height < 2 * WINDOW + 10:
            return SILENT
        return {} if there else {"withheld": True}

    judge(lab, ids, says)
    there = True
    for at in (*executors, 3):
        judge(lab, in_flight(lab, 4, lab.nodes[at]), lambda node: {})
    for node in lab.nodes:
        found = part(lab, node)
        assert (
            found.strikes, found.convictions, found.barred_until, found.suspended_until, found.collateral_micro
        ) == (0, 0, 0, 0, STAKE)
        assert (found.reputation, lab.view.conduct(node).outliers) == (60, 0)
    assert sum(lab.inference(one).refunded_micro + lab.inference(one).paid_micro for one in ids) == sum(
        lab.inference(one).charged_micro for one in ids
    )


def test_an_honest_accuser_pays_nothing_where_two_of_its_committee_lie() -> None:
    """M11, J2: two call a false answer valid; the second committee finds the fault."""
    lab = staked()
    (one,) = in_flight(lab, 1, lab.nodes[NODE])
    accuser, *liars = lab.members(one)
    judge(lab, [one], lambda node: {} if node in liars else {"valid": False})
    assert lab.status(one) == Status.INVALIDATED.value
    untouched(lab, accuser)


@pytest.mark.parametrize("second", [SILENT, {"withheld": True}], ids=str)
def test_an_accuser_that_nobody_else_heard_pays_nothing(second: dict[str, Any] | None) -> None:
    """M11, J2, J3, J6, M17: the second committee is cut off from the network. The first one's majority decides about
    the fee, and nobody's conduct is counted."""
    for accusers in (1, 2):
        lab = staked()
        (one,) = in_flight(lab, 1, lab.nodes[NODE])
        first = lab.members(one)
        judge(lab, [one], lambda node: (
            second if node not in first else {"valid": first.index(node) >= accusers}  # noqa: B023
        ))
        assert lab.status(one) == (Status.UPHELD.value if accusers == 1 else Status.EXPIRED.value)
        for node in lab.nodes:
            untouched(lab, node)


def test_one_with_numbers_of_its_own_does_not_make_the_others_outliers() -> None:
    """J1, J7: the one that disagrees with the majority is the outlier. Where only it and one honest validator revealed
    numbers there is no majority, so no outlier."""
    lab = staked()
    liar = lab.nodes[LIAR]
    for _ in range(12):
        (one,) = in_flight(lab, 1, lab.nodes[NODE])
        honest = next((node for node in lab.members(one) if node != liar), liar)
        judge(lab, [one], lambda node: (
            {"row": false_row} if node == liar else {} if node == honest else SILENT  # noqa: B023
        ))
    for node in lab.nodes:
        assert lab.view.conduct(node).outliers == 0
        assert part(lab, node).barred_until == 0


def test_who_speaks_alone_makes_nobody_miss_a_duty() -> None:
    """J5: it claims to have checked the answer, but nobody knows whether the others could have."""
    lab = staked()
    for _ in range(20):
        (one,) = in_flight(lab, 1, lab.nodes[NODE])
        speaker = lab.members(one)[0]
        judge(lab, [one], lambda node: {} if node == speaker else SILENT)  # noqa: B023
    assert all(lab.view.conduct(node).missed == 0 for node in lab.nodes)
    assert not any(part(lab, node).barred_until for node in lab.nodes)


def test_a_false_accusation_of_an_answer_to_the_own_owner_is_no_unrevealed_fault() -> None:
    lab = staked()
    one = lab.drawn(executor=lab.nodes[NODE], account=lab.owners[NODE])
    liar = lab.members(one)[0]
    judge(lab, [one], lambda node: {"valid": node != liar})
    lab.block(RULES.plant_window + 2)
    untouched(lab, lab.nodes[NODE])
    one = lab.drawn(executor=lab.nodes[NODE], account=lab.owners[NODE])
    first = lab.members(one)
    judge(lab, [one], lambda node: {"valid": False} if node in first else SILENT)
    lab.block(RULES.plant_window + 2)
    untouched(lab, lab.nodes[NODE])


# -- what agents and clients do: M4, M6 --------------------------------------------------------------------------------


def weigh(lab: Lab, agents: range, weight: int) -> None:
    for at in agents:
        lab.view.put_participant(replace(part(lab, lab.nodes[at]), weight=weight))


def differ(lab: Lab, agents: range, rounds: int) -> None:
    """Each of these agents reports other output than NODE's for that many answers."""
    for agent in agents:
        for _ in range(rounds):
            signed = lab.start(agent=agent)
            if lab.nodes[NODE] in lab.inference(signed.inference_id).candidates:
                lab.finish(signed.inference_id, lab.nodes[NODE], output=False)
                lab.output(signed.inference_id, output_hash=bytes(32))
    lab.block(3)


@pytest.mark.parametrize(("agents", "weight", "suspended"), [
    (range(4, 12), 0, False),  # eight keys without weight, which anybody can make
    (range(9, 12), 10, False),  # three of eleven by weight
    (range(5, 12), 10, True),  # most of all agents: then the executor is at fault, as far as anybody can know
], ids=["keys without weight", "less than a third", "most"])
def test_agents_suspend_only_with_a_third_of_the_weight(agents: range, weight: int, suspended: bool) -> None:
    """Agents report other output than NODE finished, in twelve answers each."""
    lab = staked()
    weigh(lab, agents, weight)
    differ(lab, agents, 12)
    assert (part(lab, lab.nodes[NODE]).suspended_until > 0) is suspended
    seen = lab.view.conduct(lab.nodes[NODE])
    assert (seen.paired > 0) is (weight > 0), "agents without weight count neither for nor against it"
    if not suspended:
        untouched(lab, lab.nodes[NODE])


def test_an_agent_that_restarts_loses_no_more_than_the_answers_in_flight() -> None:
    """M6: twenty answers of many executors that one agent does not confirm count as one fault, since it may have
    restarted. An agent that keeps doing so is not excused."""
    lab, ids = staked(), []
    for _ in range(20):
        ids.append(lab.start(agent=0).inference_id)
        lab.finish(ids[-1], output=False)
    judge(lab, ids, lambda node: {})
    assert {lab.status(one) for one in ids} == {Status.UNCONFIRMED.value}
    assert sum(partner.differ for partner in lab.view.conduct(lab.nodes[0]).partners) == 1
    for node in lab.nodes:
        assert (part(lab, node).suspended_until, part(lab, node).strikes) == (0, 0)
        assert lab.view.conduct(node).paired <= 1


@pytest.mark.parametrize("agents", [range(4, 12), range(2, 3)], ids=["all", "one"])
def test_starts_that_are_never_forwarded_are_nobodys_miss(agents: range) -> None:
    """M4: the agent forwarded its requests to nobody, or the network was down and nobody could answer; the escrow
    returns."""
    lab = staked(epoch_blocks=100)
    for agent in agents:
        for _ in range(10):
            lab.start(agent=agent, deadline=20)
    lab.block(101 - lab.height)
    for node in lab.nodes:
        assert (part(lab, node).misses, part(lab, node).reputation) == (0, 60)
    assert lab.view.account(CLIENT.public).balance_micro == 10**9


def test_the_only_silent_candidate_has_a_miss_if_the_agent_has_weight() -> None:
    for weight in (0, 10):
        lab = staked(6)
        weigh(lab, range(2, 3), weight)
        signed = lab.start(agent=2, deadline=20)
        candidates = lab.inference(signed.inference_id).candidates
        lab.busy(signed.inference_id, *candidates[1:])
        lab.block(25)
        assert part(lab, candidates[0]).misses == (1 if weight else 0)
        assert all(part(lab, node).misses == 0 for node in candidates[1:])


def test_an_agent_cannot_provoke_all_candidates_but_one_and_give_that_one_a_miss() -> None:
    """M4: a candidate that is shown a forged beginning of the answer signs a Busy that names the agent as the cause.
    Else the agent could make all candidates but one say Busy and never ask that one, which would have a miss."""
    lab = staked(6)
    weigh(lab, range(2, 3), 10)
    signed = lab.start(agent=2, deadline=20)
    candidates = lab.inference(signed.inference_id).candidates
    lab.busy(signed.inference_id, *candidates[2:])
    lab.busy(signed.inference_id, candidates[1], reason=AGENT_CAUSED + "not signed by who streamed it")
    lab.block(25)
    assert lab.status(signed.inference_id) == Status.EXPIRED.value
    assert all(part(lab, node).misses == 0 for node in candidates)


# -- the sprint --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("says", "weight"), [
    (lambda liar, node: {"valid": False} if node == liar else {}, 30),  # a liar in its committees
    (lambda liar, node: {"withheld": True} if node == liar else {}, 30),
    (lambda liar, node: {"withheld": True}, 5),  # nobody can get it: half of its weight, as if it had not taken part
    (lambda liar, node: SILENT, 10),  # no verdict at all: its weight stays
], ids=["accused", "said to be withheld", "withheld", "silence"])
def test_a_sprint_is_lost_by_the_nodes_own_doing_and_halved_by_an_outage(says: Any, weight: int) -> None:
    lab = SprintLab(epoch_blocks=60, sprint=SPRINT)
    node, liar = lab.nodes[0], lab.nodes[5]
    lab.to_commit()
    lab.answer_and_commit(node, 30)
    lab.to_open()
    judge(lab, lab.open(node), lambda member: says(liar, member))
    assert part(lab, node).strikes == 0
    lab.to_next_epoch()
    assert lab.weight(node) == weight
