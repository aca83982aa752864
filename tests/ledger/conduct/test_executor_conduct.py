"""Convictions of executors by the sequential test, and bars of validators by exact tests, until the end of the next
epoch; honest ones get neither."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.genesis import CheckRules
from p2p.base.types import RevealedRow, VerdictKind
from p2p.ledger.inferences.verdict_comparison import agree, evidence_milli, losers, outliers
from p2p.ledger.participants.eligibility import checking, serving
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.state.committee import VerdictSeen
from p2p.ledger.state.records import Participant
from p2p.verification.sequential import Detector, EProcess, Evidence
from tests.ledger.lab import CLIENT, RULES, Lab, false_row, reputations, true_row

A, B, C, D, E = (bytes([i]) * 32 for i in range(1, 6))
IID = bytes(32)


def seen(
    node: bytes, row: Any = true_row, *, valid: bool = True, llr: int = 0, tokens: int = 10, at: range = range(8)
) -> VerdictSeen:
    numbers = tuple(RevealedRow(i, row(IID, i)) for i in at) if row else ()
    return VerdictSeen(node, VerdictKind.VALID if valid else VerdictKind.INVALID, "", llr, tokens, numbers, 1)


def noisy(shift: int) -> Any:
    return lambda iid, at: tuple((token, logprob - shift) for token, logprob in true_row(iid, at))


OTHERS, THIRD = noisy(30), noisy(70)  # other kernels: other bits, within the tolerance


def part(lab: Lab, node: bytes) -> Participant:
    found = lab.view.participant(node)
    assert found is not None
    return found


# -- comparing numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "good"), [
    (true_row, True), (noisy(500), True), (noisy(501), False), (false_row, False),
    (lambda i, at: (*true_row(i, at)[:2], (77_001, -1), (77_002, -1)), True),
    (lambda i, at: (true_row(i, at)[0], (77_001, -1), (77_002, -1), (77_003, -1)), False),
    (lambda i, at: true_row(i, at) if at % 2 else false_row(i, at), True),
    (lambda i, at: true_row(i, at) if at < 3 else false_row(i, at), False),
])
def test_two_validators_agree_when_half_their_common_positions_do(row: Any, good: bool) -> None:
    assert agree(seen(A).numbers, seen(B, row).numbers, 500) is good
    assert agree(seen(B, row).numbers, seen(A).numbers, 500) is good


def test_no_common_position_says_nothing() -> None:
    assert agree(seen(A, at=range(4)).numbers, seen(B, at=range(4, 8)).numbers, 500) is None


@pytest.mark.parametrize(("rows", "compared", "outlying"), [
    ({A: true_row, B: true_row, C: false_row}, {A, B, C}, {C}),
    ({A: true_row, B: true_row, C: true_row}, {A, B, C}, set()),
    ({A: true_row, B: false_row}, set(), set()),  # one against one says nothing
    ({A: true_row, B: true_row, C: None}, {A, B}, set()),  # a refusal without numbers is not compared
    ({A: true_row, B: true_row, C: false_row, D: false_row}, set(), set()),  # half against half says nothing
    ({A: true_row, B: true_row, C: true_row, D: false_row, E: noisy(9000)}, {A, B, C, D, E}, {D, E}),
    # B agrees with one of the majority: no outlier
    ({A: true_row, B: noisy(-400), C: noisy(400), D: noisy(800)}, {A, B, C, D}, set()),
])
def test_a_validator_that_disagrees_with_an_agreeing_majority_is_an_outlier(
    rows: dict[bytes, Any], compared: set[bytes], outlying: set[bytes]
) -> None:
    verdicts = [seen(node, row) for node, row in rows.items()]
    weights = dict.fromkeys(rows, 10)
    assert outliers(verdicts, weights, 500) == (compared, outlying)
    assert outliers(verdicts[::-1], weights, 500) == (compared, outlying)


def test_weight_makes_the_majority() -> None:
    verdicts = [seen(A), seen(B), seen(C, false_row)]
    assert outliers(verdicts, {A: 10, B: 10, C: 20}, 500) == (set(), set())
    assert outliers(verdicts, {A: 10, B: 10, C: 0}, 500) == ({A, B}, set())
    assert outliers([seen(A), seen(B, false_row)], {A: 90, B: 10}, 500) == (
        set(), set()
    ), "weight alone makes no majority: nobody agrees with it"


@pytest.mark.parametrize(("ratios", "expected"), [
    ([(-5, 10), (3, 10), (9, 10)], 3), ([(-5, 10), (9, 10)], -5),
    ([(-5, 10), (9, 30)], 9), ([(99_000, 10)], 6000), ([(-99_000, 10)], -6000),
])
def test_the_evidence_is_the_lower_weighted_median_within_the_cap(ratios: list[tuple[int, int]], expected: int) -> None:
    verdicts = [seen(bytes([i]) * 32, llr=llr) for i, (llr, _) in enumerate(ratios)]
    weights = {bytes([i]) * 32: weight for i, (_, weight) in enumerate(ratios)}
    assert evidence_milli(verdicts, weights, True, 6000) == expected


def test_a_refusal_without_a_prefill_counts_the_cap_if_upheld_and_else_nothing() -> None:
    refusal = seen(A, None, valid=False, tokens=0)
    weights = {A: 10, B: 10, C: 10}
    assert evidence_milli([refusal, seen(B, valid=False, llr=50)], weights, False, 6000) == 6000
    assert evidence_milli([refusal, seen(B, llr=-70), seen(C, llr=-70)], weights, True, 6000) == -70
    assert evidence_milli([], {}, True, 6000) is None


@pytest.mark.parametrize(("llrs", "stands", "lost"), [
    ({A: (True, -3000), B: (True, -2000), C: (False, 20_000)}, True, {C}),  # a false accusation
    ({A: (False, 20_000), B: (False, 21_000), C: (True, -2000)}, False, {C}),  # missed the fault
    ({A: (False, 30_000), B: (False, 30_000), C: (True, 30_000)}, False, {C}),  # measured the fault and says valid
    ({A: (True, 6900), B: (True, 6800), C: (False, 7000)}, True, set()),  # grey zone: nobody lied
    ({A: (False, 7100), B: (False, 7000), C: (True, 6900)}, False, set()),
    ({A: (True, -1000), B: (True, -1000), C: (False, -1000)}, True, {C}),  # says invalid against its own ratio
])
def test_the_losers_of_a_dispute_are_marked_unless_it_was_a_grey_zone(
    llrs: dict[bytes, tuple[bool, int]], stands: bool, lost: set[bytes]
) -> None:
    verdicts = [seen(node, valid=valid, llr=llr) for node, (valid, llr) in llrs.items()]
    assert losers(verdicts, dict.fromkeys(llrs, 10), stands, CheckRules()) == lost


# -- J6: faults called valid (decision 028) ----------------------------------------------------------------------------


@pytest.mark.parametrize(("conduct", "convicted"), [
    ({"row": OTHERS}, True), ({"row": THIRD}, False),
    ({"valid": False, "llr": 25_000}, False), ({"row": OTHERS, "llr": 11_000}, True),
])
def test_a_validator_that_calls_faults_valid_is_convicted_over_epochs(
    conduct: dict[str, Any], convicted: bool
) -> None:
    """J6: the last of eight validators calls answers valid that the others refuse, twice an epoch. The others are on
    two kinds of kernels; with THIRD they are on equal ones, whose verdict other kernels cannot confirm, so it is
    excused."""
    lab, last = Lab(epoch_blocks=60, rules=replace(RULES, conviction_milli=10**9)), 7
    last_node, alone = lab.nodes[last], conduct.get("row") is THIRD

    def says(node: bytes) -> dict[str, Any]:
        if node == last_node:
            return conduct
        return {"valid": False, "llr": 30_000, "row": OTHERS if not alone and lab.nodes.index(node) % 2 else true_row}

    for _ in range(20):
        for _ in range(2):
            lab.decide(lab.drawn(executor=lab.nodes[1]), says)
        lab.block(60 - (lab.height - 1) % 60)
    log = lab.view.conduct(last_node).detection.log_milli()
    assert (log > 13_816) is convicted, log
    assert all(lab.view.conduct(node).detection.log_milli() < 4000 for node in lab.nodes[:last])


def test_planted_faults_convict_a_validator_that_calls_everything_valid() -> None:
    """Answers of an executor to its own owner are no evidence against the executor, but against validators. Bars alone
    would end with the next epoch each time."""
    lab, epochs = Lab(epoch_blocks=60), 0
    liar = lab.nodes[7]
    while not part(lab, liar).convicted_until:
        lab.decide(
            lab.drawn(executor=lab.nodes[1], account=lab.owners[1]),
            lambda node: {} if node == liar else {"valid": False, "stage0": False}
        )
        for _ in range(3):
            lab.decide(lab.drawn(executor=lab.nodes[2]), lambda node: {})
        lab.block(60 - (lab.height - 1) % 60)
        epochs += 1
        assert epochs < 60
    assert "for calling faults valid" in part(lab, liar).convicted_reason
    assert not any(part(lab, node).convictions for node in lab.nodes[:7])
    assert lab.view.conduct(liar).detection == Detector(), "the evidence is used up"


# -- executors ---------------------------------------------------------------------------------------------------------


def test_a_cheat_is_convicted_serves_nobody_until_the_end_of_the_next_epoch_and_earns_again() -> None:
    lab = Lab(epoch_blocks=60)
    cheat = lab.nodes[1]
    rounds = 0
    while not part(lab, cheat).convicted_until:
        lab.decide(lab.drawn(executor=cheat), lambda node: {"valid": False})
        rounds += 1
        assert rounds <= 3
    assert rounds == 3, "three answers at the cap: e^18 is over a million"
    found = part(lab, cheat)
    assert (found.convicted_until, found.reputation, found.strikes) == (120, 0, 3)
    assert "log e-value 15" in found.convicted_reason
    assert cheat not in dict(serving(lab.ctx, "toy"))
    assert cheat not in dict(checking(lab.ctx, "toy"))
    assert voting_weights(lab.ctx, [cheat])[cheat] == 0
    assert cheat not in lab.inference(lab.start().inference_id).candidates
    lab.block(120 - lab.height)
    assert part(lab, cheat).convicted_until == 120
    lab.block()
    assert part(lab, cheat).convicted_until == 0
    assert part(lab, cheat).convicted_reason, "the reason stays"
    assert cheat in dict(serving(lab.ctx, "toy"))


def test_one_cheating_answer_among_honest_ones_strikes_but_does_not_convict() -> None:
    lab = Lab()
    node = lab.nodes[1]
    for at in range(12):
        lab.decide(lab.drawn(executor=node), lambda _, at=at: {"valid": at != 5})  # type: ignore[misc]
    found = part(lab, node)
    assert (found.strikes, found.reputation, found.convicted_until) == (1, 0, 0)
    assert lab.view.conduct(node).checked == 12


def test_evidence_that_convicted_is_used_up() -> None:
    """A participant that returns is not convicted again by the same evidence."""
    lab = Lab(epoch_blocks=60)
    cheat = lab.nodes[1]
    while not part(lab, cheat).convicted_until:
        lab.decide(lab.drawn(executor=cheat), lambda node: {"valid": False})
    lab.block(121 - lab.height)
    assert lab.view.conduct(cheat).evidence == Evidence()
    lab.decide(lab.drawn(executor=cheat), lambda node: {})
    assert (part(lab, cheat).convicted_until, part(lab, cheat).convictions) == (0, 1)


def test_a_cheat_that_waits_until_answers_are_sampled_is_convicted_over_epochs() -> None:
    """It is honest while all its answers are checked. Once answers are sampled it cheats: in each epoch the sampled
    answer's ratio is 2 nats, in favour of cheating."""
    rules = replace(RULES, min_checked_tokens=30, min_checks=0, saving_micro=0, reputation_gain=0)
    lab, epochs = Lab(epoch_blocks=150, rules=rules), 0
    node = lab.nodes[1]
    lab.view.put_participant(replace(part(lab, node), reputations=reputations(60)))
    while not part(lab, node).convicted_until:
        for _ in range(3):
            lab.decide(lab.drawn(executor=node), lambda _: {"llr": -3000})
        while not lab.inference(inference_id := lab.drawn(executor=node)).committees:
            pass
        assert 0 < lab.inference(inference_id).sampled_milli < 1000
        lab.decide(inference_id, lambda _: {"llr": 2000})
        lab.block(150 - (lab.height - 1) % 150)
        epochs += 1
        assert epochs < 12
    assert epochs > 5
    assert part(lab, node).strikes == 0, "no single answer was refused"


def test_small_ratios_that_stand_convict_in_sum() -> None:
    """No single answer is refused; 0.1 nats too much in each is enough."""
    lab = Lab()
    node, rounds = lab.nodes[1], 0
    while not part(lab, node).convicted_until:
        lab.decide(lab.drawn(executor=node), lambda _: {"llr": 900})
        rounds += 1
        assert rounds < 40
    assert part(lab, node).strikes == 0


def test_counters_begin_anew_and_clean_epochs_earn_reputation() -> None:
    lab = Lab(epoch_blocks=40)
    node = lab.nodes[1]
    for _ in range(3):
        lab.decide(lab.drawn(executor=node, tokens=20), lambda _: {})
    assert lab.view.conduct(node).checked_tokens == 60
    lab.block(41 - lab.height)
    after = lab.view.conduct(node)
    assert (after.checked, after.checked_tokens, after.booked_before, after.evidence.sure.now) == (0, 0, 3, EProcess())
    assert part(lab, node).reputation == RULES.reputation_gain
    assert part(lab, lab.nodes[2]).reputation == 0, "idle nodes earn nothing"
    lab.block(40)
    assert part(lab, node).reputation == RULES.reputation_gain
    assert lab.view.conduct(node).booked_before == 0


def test_a_dispute_of_an_earlier_epoch_is_no_evidence_in_this_one() -> None:
    lab = Lab(epoch_blocks=40)
    node = lab.nodes[1]
    lab.block(34)
    inference_id = lab.drawn(executor=node)
    lab.say([lab.verdict(inference_id, member, valid=False) for member in lab.members(inference_id)])
    assert lab.height <= 41
    lab.block(41 - lab.height)
    lab.decide(inference_id, lambda _: {"valid": False})
    assert lab.status(inference_id) == "INVALIDATED"
    assert lab.view.conduct(node).evidence.sure.now == EProcess()
    assert part(lab, node).strikes == 1


# -- validators --------------------------------------------------------------------------------------------------------


def run_duties(lab: Lab, node: bytes, says: dict[str, Any], rounds: int, *, valid: bool = True) -> int:
    """`node` says the same in each committee it is drawn for, until it is barred. Returns how often it was drawn."""
    asked = 0
    for _ in range(rounds):
        if part(lab, node).barred_until:
            break
        executor = next(n for n in lab.nodes if n != node and not part(lab, n).convicted_until)
        inference_id = lab.drawn(executor=executor)
        asked += node in lab.members(inference_id)
        lab.decide(inference_id, lambda member: says if member == node else {"valid": valid})
    return asked


@pytest.mark.parametrize("says", [
    {"row": false_row, "llr": -2000},  # lazy: invented numbers
    {"valid": False, "stage0": True},  # accuses honest executors
    {"valid": False, "llr": 20_000},
])
def test_a_lying_validator_is_barred_and_its_word_weighs_nothing(says: dict[str, Any]) -> None:
    lab = Lab(epoch_blocks=500)
    node = lab.nodes[4]
    asked = run_duties(lab, node, says, 60)
    found = part(lab, node)
    assert found.barred_until == 1000
    assert found.barred_reason == "epoch 0: stood alone in 4 of 4 comparisons"
    assert asked == 4
    assert voting_weights(lab.ctx, [node])[node] == 0
    assert node not in dict(checking(lab.ctx, "toy"))
    assert node not in dict(serving(lab.ctx, "toy")), "a barred validator serves nobody either"
    assert all(not part(lab, other).barred_until for other in lab.nodes if other != node)


def test_a_validator_that_misses_faults_is_barred_in_a_network_of_cheats() -> None:
    rules = replace(RULES, conviction_milli=10**9)
    lab = Lab(epoch_blocks=500, rules=rules)
    node = lab.nodes[4]
    run_duties(lab, node, {"llr": -2000}, 60, valid=False)
    assert part(lab, node).barred_until == 1000


def test_missed_duties_bar_only_with_enough_evidence() -> None:
    lab = Lab(epoch_blocks=500)
    node, missed = lab.nodes[4], 0
    while not part(lab, node).barred_until:
        inference_id = lab.drawn(executor=lab.nodes[0])
        others = [n for n in lab.members(inference_id) if n != node]
        missed += node in lab.members(inference_id)
        lab.say([lab.verdict(inference_id, n) for n in others])
        assert missed <= 6
        assert part(lab, node).barred_until == 0 or missed == 6
    reason = "epoch 0: log e-value 16040 of 13816 thousandths of a nat for duties it missed and others did"
    assert part(lab, node).barred_reason == reason
    assert lab.view.conduct(node).present == Detector(), "the evidence is used up"


def test_a_bar_ends_with_the_next_epoch() -> None:
    lab = Lab(epoch_blocks=30)
    found = part(lab, lab.nodes[4])
    lab.view.put_participant(replace(found, barred_until=60, barred_reason="because"))
    lab.block(59)
    assert voting_weights(lab.ctx, [lab.nodes[4]])[lab.nodes[4]] == 0
    lab.block()
    assert voting_weights(lab.ctx, [lab.nodes[4]])[lab.nodes[4]] == 10


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(st.data())
def test_the_order_of_reveals_changes_nothing(data: Any) -> None:
    ends = []
    for order in (range(3), data.draw(st.permutations(range(3)))):
        lab = Lab()
        inference_id = lab.drawn(account=CLIENT)
        verdicts = [lab.verdict(inference_id, n, llr=i * 900 - 500) for i, n in enumerate(lab.members(inference_id))]
        for verdict in verdicts:
            lab.commit(verdict)
        lab.block()
        for at in order:
            lab.reveal(verdicts[at])
        lab.block()
        ends.append([lab.view.conduct(n) for n in lab.nodes])
    assert ends[0] == ends[1]
