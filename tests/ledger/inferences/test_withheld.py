"""An answer whose payload nobody could get: the verdict 'withheld' alone punishes nobody, such an answer is not paid,
and withholding never pays."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.types import StackClass, Status
from p2p.chain.views.earnings import Rule, rule_of
from p2p.ledger.conduct import reputation
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.rules.ops import Appeal
from p2p.ledger.state.records import Conduct, Inference
from p2p.verification.sequential import Detector, detection_milli
from tests.ledger.account_transactions import submit
from tests.ledger.lab import RULES, WINDOW, Lab, reputations

V, I, W, S = "valid", "invalid", "withheld", "silent"  # noqa: E741
SAYS: dict[str, dict[str, Any]] = {V: {}, I: {"valid": False}, W: {"withheld": True}}


def speak(lab: Lab, inference_id: bytes, words: list[str]) -> None:
    """The current committee's verdicts, one word for each member in order."""
    members = lab.members(inference_id)
    assert len(members) == len(words), (len(members), words)
    verdicts = [
        lab.verdict(inference_id, node, **SAYS[word]) for node, word in zip(members, words, strict=True) if word != S
    ]
    if verdicts:
        lab.say(verdicts)
    else:
        lab.block(WINDOW)


def run(*committees: list[str], lab: Lab | None = None) -> tuple[Lab, Inference]:
    lab = lab or Lab(12)
    inference_id = lab.drawn(executor=lab.nodes[1])
    for words in committees:
        speak(lab, inference_id, words)
    return lab, lab.inference(inference_id)


def executor(lab: Lab) -> Conduct:
    return lab.view.conduct(lab.nodes[1])


def unpunished(lab: Lab) -> None:
    for part in lab.view.participants():
        assert (part.strikes, part.convictions, part.barred_until, part.suspended_until) == (0, 0, 0, 0)
        assert lab.view.conduct(part.node).outliers == 0


@pytest.mark.parametrize(("committees", "status"), [
    ([[V, V, W]], "VALIDATED"), ([[V, W, S]], "VALIDATED"), ([[V, W, W], [V, V, V]], "VALIDATED"),
    ([[W, W, W], [V, V, W]], "VALIDATED"),
    ([[W, W, W], [W, W, W]], "WITHHELD"), ([[V, W, W], [W, W, W]], "WITHHELD"), ([[W, W, S], [W, S, W]], "WITHHELD"),
    ([[W, W, S], [S, S, S]], "EXPIRED"), ([[S, S, S], [W, S, S]], "EXPIRED"), ([[S, S, S], [W, W, W]], "EXPIRED"),
    ([[I, W, W], [W, W, W]], "WITHHELD"), ([[W, W, W], [I, W, W], [W, W, W]], "WITHHELD"),
    ([[I, W, W], [V, V, V]], "UPHELD"), ([[V, V, I], [W, W, W]], "UPHELD"), ([[S, S, S], [S, S, S]], "EXPIRED"),
])
def test_withheld_is_not_a_vote_against_the_answer(committees: list[list[str]], status: str) -> None:
    lab, found = run(*committees)
    assert found.status == status
    part = lab.view.participant(lab.nodes[1])
    assert part is not None
    assert (part.strikes, part.convictions) == (0, 0)
    paid = status in ("VALIDATED", "UPHELD")
    assert (found.paid_micro, found.refunded_micro) == ((found.charged_micro, 0) if paid else (0, found.charged_micro))
    assert (
        executor(lab).withheld, executor(lab).watched_until > 0
    ) == ((1, True) if status == "WITHHELD" else (0, False))
    assert all(part.barred_until == 0 for part in lab.view.participants())


@pytest.mark.parametrize(
    "committees", [[[I, I, I], [I, I, W]], [[I, I, W], [I, I, S]], [[W, W, W], [I, I, W], [I, I, W]]]
)
def test_a_refuted_executor_is_struck_though_some_validators_had_no_payload(committees: list[list[str]]) -> None:
    """Validators that have the payload pass it on, so it is enough that most of the second committee judged."""
    lab, found = run(*committees)
    assert found.status == "INVALIDATED"
    assert lab.view.participant(lab.nodes[1]).strikes == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "committees", [[[I, I, I], [W, W, W]], [[I, I, I], [S, S, S]], [[I, I, I], [I, W, S]], [[I, I, V], [I, S, S]]]
)
def test_accusers_that_no_second_committee_hears_strike_nobody(committees: list[list[str]]) -> None:
    """Three validators lie while the executor is cut off, so nobody else can get the payload. If they told the truth
    they would pass it on."""
    lab, found = run(*committees)
    assert (found.status, found.refunded_micro) == ("EXPIRED", found.charged_micro)
    unpunished(lab)


def test_a_refuted_executor_cannot_withhold_from_the_committee_of_an_appeal() -> None:
    lab = Lab(12, rules=replace(RULES, appeal_window=20))
    lab, found = run([I, I, I], [I, I, I], lab=lab)
    assert found.status == "APPEALABLE"
    inference_id = found.signed_request.inference_id
    submit(lab, lab.owners[1], Appeal(inference_id))
    lab.block(2)
    assert lab.status(inference_id) == "APPEALED"
    speak(lab, inference_id, [W] * len(lab.members(inference_id)))
    found = lab.inference(inference_id)
    assert (found.status, found.appeal.burnt_micro if found.appeal else -1) == ("INVALIDATED", 0), (
        "the bond returns: nobody judged the answer"
    )


def test_a_validator_that_is_left_out_is_not_paid_and_loses_nothing_else() -> None:
    """It misses one duty and is not paid for it; the test over epochs counts one miss."""
    lab, found = run([V, V, W])
    left_out = found.committees[0].members[2]
    seen = lab.view.conduct(left_out)
    assert (seen.duties, seen.missed, seen.outliers, seen.compared) == (1, 1, 0, 0)
    unpunished(lab)
    lab, found = run([V, W, W], [V, V, V])
    assert [lab.view.conduct(node).missed for node in found.committees[0].members] == [0, 0, 0], (
        "where most had no payload it is nobody's fault"
    )
    assert lab.view.conduct(found.committees[0].members[0]).duties == 1, "and a validator that judged is paid"


def test_a_validator_that_always_says_withheld_is_never_paid_and_barred_in_the_end() -> None:
    lab, asked = Lab(epoch_blocks=1000), 0
    lazy = lab.nodes[7]
    while not lab.view.participant(lazy).barred_until:  # type: ignore[union-attr]
        inference_id = lab.drawn(executor=lab.nodes[1])
        asked += lazy in lab.members(inference_id)
        lab.decide(inference_id, lambda node: {"withheld": node == lazy})
        assert lab.inference(inference_id).status == "VALIDATED"
        seen = lab.view.conduct(lazy)
        assert seen.duties == seen.missed
        assert asked <= 6
    assert asked == 6
    assert lazy not in dict(serving(lab.ctx, "toy"))
    assert sum(part.barred_until > 0 for part in lab.view.participants()) == 1


def test_what_one_outage_took_is_one_miss() -> None:
    """Twelve committees are at work at the same time; one member of each is away, or cannot reach anybody."""
    lab = Lab(4)
    away = lab.nodes[3]
    ids = [lab.start(agent=0).inference_id for _ in range(12)]
    for inference_id in ids:
        lab.finish(
            inference_id, lab.nodes[1] if lab.nodes[1] in lab.inference(inference_id).candidates else lab.nodes[2]
        )
    lab.block(2)
    verdicts = [lab.verdict(one, node) for one in ids for node in lab.members(one) if node != away]
    for verdict in verdicts:
        lab.commit(verdict)
    lab.block(WINDOW)
    for verdict in verdicts:
        lab.reveal(verdict)
    lab.block()
    seen = lab.view.conduct(away)
    assert (seen.duties, seen.missed) == (12, 12)
    absent, _ = detection_milli(RULES.honest_miss_ppm)
    assert seen.present == Detector().updated(absent, RULES.llr_cap_milli), "one miss"
    assert lab.view.participant(away).barred_until == 0  # type: ignore[union-attr]


# -- the executor -------------------------------------------------------------------------------------------------


def test_a_withheld_answer_is_fined_for_unchecked_ones_too_and_then_all_are_checked() -> None:
    """M18: the fee is lost, and (1 - p) / p fees more, so withholding earns nothing on average, however few answers are
    checked. It is no strike and no evidence."""
    lab = Lab(12, epoch_blocks=1000, rules=replace(RULES, min_checked_tokens=0, min_checks=0, saving_micro=0))
    node = lab.nodes[1]
    lab.view.put_participant(replace(lab.view.participant(node), reputations=reputations(80)))  # type: ignore[type-var]
    milli = reputation.check_milli(lab.ctx, node, "toy", StackClass.CPU_BF16.value)
    assert milli < 300
    booked = 0
    while not lab.inference(inference_id := lab.drawn(executor=node)).committees:
        booked += lab.inference(inference_id).paid_micro
    speak(lab, inference_id, [W, W, W])
    speak(lab, inference_id, [W, W, W])
    found = lab.inference(inference_id)
    record = earnings.earning(lab.view, 0, node)
    assert record is not None
    assert (record.fees_micro, record.fined_micro) == (booked, found.charged_micro * (1000 - milli) // milli)
    assert rule_of(found, record, settled=False) == ("refunded", Rule.WITHHELD)
    assert reputation.check_milli(lab.ctx, node, "toy", StackClass.CPU_BF16.value) == 1000
    assert executor(lab).evidence.log_milli() == 0
    unpunished(lab)
    assert lab.view.participant(node).reputation == 80  # type: ignore[union-attr]
    lab.block(1000 - (lab.height - 1))
    assert executor(lab).watched_until == 2000
    lab.block(1000)
    assert executor(lab).watched_until == 0
    assert reputation.check_milli(lab.ctx, node, "toy", StackClass.CPU_BF16.value) < 1000


def test_an_executor_that_withholds_repeatedly_is_suspended_and_an_outage_is_not() -> None:
    lab, rounds = Lab(12, epoch_blocks=100), 0
    node = lab.nodes[1]
    while not lab.view.participant(node).suspended_until:  # type: ignore[union-attr]
        _, found = run([W, W, W], [W, W, W], lab=lab)
        assert found.status == Status.WITHHELD.value
        rounds += 1
        assert rounds <= 6
    part = lab.view.participant(node)
    assert part is not None
    assert (rounds, part.convictions, part.strikes) == (6, 0, 0)
    assert "payloads that nobody could get" in part.suspended_reason
    assert node not in dict(serving(lab.ctx, "toy"))
    assert executor(lab).shown == Detector(), "the evidence is used up"
    lab = Lab(12)
    ids = []
    for _ in range(20):
        signed = lab.start(agent=0)
        if node in lab.inference(signed.inference_id).candidates:
            lab.finish(signed.inference_id, node)
            ids.append(signed.inference_id)
    lab.block(2)
    for _ in range(2):
        verdicts = [lab.verdict(one, member, withheld=True) for one in ids for member in lab.members(one)]
        for verdict in verdicts:
            lab.commit(verdict)
        lab.block()
        for verdict in verdicts:
            lab.reveal(verdict)
        lab.block()
    assert {lab.status(one) for one in ids} == {Status.WITHHELD.value}
    assert executor(lab).withheld == len(ids) > 10
    hidden, _ = detection_milli(RULES.honest_miss_ppm)
    assert executor(lab).shown == Detector().updated(hidden, RULES.llr_cap_milli), "one outage counts once"
    unpunished(lab)


def test_the_owners_own_questions_count_for_nothing() -> None:
    lab = Lab(12)
    inference_id = lab.drawn(executor=lab.nodes[1], account=lab.owners[1])
    speak(lab, inference_id, [W, W, W])
    speak(lab, inference_id, [W, W, W])
    assert lab.status(inference_id) == Status.WITHHELD.value
    assert (executor(lab).withheld, executor(lab).watched_until) == (0, 0)
    unpunished(lab)


def test_a_validator_that_judged_is_not_drawn_again_and_votes_once() -> None:
    lab = Lab(6)
    inference_id = lab.drawn(executor=lab.nodes[1])
    first = lab.members(inference_id)
    speak(lab, inference_id, [V, W, W])
    again = lab.members(inference_id)
    assert first[0] not in again
    assert len(again) == 3
    assert again != first
