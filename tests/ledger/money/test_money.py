"""How single inferences end in money: records of both sides, refunds, notices, penalties, and what is pruned."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.keys import Domain
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    RecordKind,
    Request,
    SignedFinish,
    SignedRequest,
    StartRecord,
)
from p2p.ledger.conduct.executor_conduct import most_of_one_partner
from p2p.ledger.inferences import pruning as leaving
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.notices import notices
from p2p.ledger.state.records import MAX_NOTICES, Participant
from tests.ledger.lab import CLIENT, PRICE, PROMPT, RULES, STEADY, TOKENS_HASH, Lab, reputations

FULL, COST = 10**9, (PROMPT + 10) * PRICE
OTHER = b"\x06" * 32


def balance(lab: Lab) -> int:
    return lab.view.account(CLIENT.public).balance_micro


def part(lab: Lab, node: bytes) -> Participant:
    found = lab.view.participant(node)
    assert found is not None
    return found


def signed_request(lab: Lab, **change: Any) -> SignedRequest:
    nonce = lab.view.account(CLIENT.public).nonce_high + 1
    fields = (
        VERSION,
        lab.network,
        CLIENT.public,
        nonce,
        "toy",
        bytes(32),
        Params(),
        50,
        50,
        100,
        lab.height + 50,
        CLIENT.public,
        lab.height - 1,
    )
    body = replace(Request(*fields), **change)
    return SignedRequest(body, CLIENT.sign(Domain.REQUEST, lab.network, encode(body)))


def put_collateral(lab: Lab, node: bytes, amount: int) -> None:
    """Give `node` collateral that is minted for the test."""
    found = lab.view.participant(node)
    assert found is not None
    lab.view.put_participant(replace(found, collateral_micro=amount))
    totals = lab.view.totals()
    lab.view.put_totals(replace(
        totals, minted_micro=totals.minted_micro + amount, collateral_micro=totals.collateral_micro + amount,
    ))


def check(lab: Lab, inference_id: bytes) -> None:
    """Let the committee say 'valid'. Where the agent did not confirm, the inference does not end by it."""
    verdicts = [lab.verdict(inference_id, node) for node in lab.members(inference_id)]
    for verdict in verdicts:
        lab.commit(verdict)
    lab.block()
    for verdict in verdicts:
        lab.reveal(verdict)
    lab.block()


# -- two records --------------------------------------------------------------------------------------------------


def test_nothing_is_paid_before_the_agent_confirms() -> None:
    lab = Lab()
    signed = lab.start()
    executor = lab.finish(signed.inference_id, output=False)
    lab.block(2)
    check(lab, signed.inference_id)
    lab.block(2)
    found = lab.inference(signed.inference_id)
    assert (found.status, found.outcome, found.paid_micro, found.due_micro) == ("FINISHED", "VALIDATED", 0, COST)
    lab.output(signed.inference_id)
    lab.block()
    found = lab.inference(signed.inference_id)
    assert (
        found.status, found.outcome, found.paid_micro, found.due_micro, found.end_height
    ) == ("VALIDATED", "", COST, 0, lab.height - 1)
    booked = earnings.earning(lab.view, 0, executor)
    assert booked is not None
    assert (booked.fees_micro, booked.inferences, booked.work) == (COST, 1, 30_000)


@pytest.mark.parametrize(("said", "reason"), [
    (None, "the agent did not say what it streamed"),
    ((10, OTHER), "agent and executor do not say the same was streamed"),
    ((9, TOKENS_HASH), "agent and executor do not say the same was streamed"),
])
def test_records_that_differ_pay_nobody_and_count_against_both(said: tuple[int, bytes] | None, reason: str) -> None:
    lab = Lab(validation_delay=1, economy=replace(STEADY, output_window=30))
    signed = lab.start()
    executor = lab.finish(signed.inference_id, output=False)
    if said:
        lab.output(signed.inference_id, *said)
    lab.block(2)
    if not said:
        check(lab, signed.inference_id)
        lab.block(lab.inference(signed.inference_id).finish_height + 30 - lab.height)
        assert lab.status(signed.inference_id) == "FINISHED"
        lab.block()
    found = lab.inference(signed.inference_id)
    assert (found.status, found.reason, found.refunded_micro, found.paid_micro) == ("UNCONFIRMED", reason, COST, 0)
    assert balance(lab) == FULL
    assert [lab.view.conduct(n).differ for n in (lab.nodes[0], executor)] == [1, 1]
    assert earnings.earning(lab.view, 0, executor).fees_micro == 0  # type: ignore[union-attr]
    with pytest.raises(FolkmootError):
        lab.output(signed.inference_id)
    (notice,) = notices(lab.view, CLIENT.public)
    assert (notice.what, notice.amount_micro) == ("UNCONFIRMED", COST)


def test_an_interrupted_stream_is_paid_for_what_was_streamed() -> None:
    lab = Lab()
    inference_id = lab.drawn(tokens=3)
    found = lab.decide(inference_id, lambda node: {})
    assert (found.status, found.paid_micro) == ("VALIDATED", (PROMPT + 3) * PRICE)
    assert balance(lab) == FULL - (PROMPT + 3) * PRICE


def test_finish_and_output_before_the_start() -> None:
    """Records of both sides travel in different batches. Those that come before the Start wait and are applied with it;
    the price is that of the Start."""
    lab, ghost = Lab(), Lab()
    for one in (lab, ghost):
        one.block()
    signed = ghost.start()
    executor = ghost.inference(signed.inference_id).candidates[0]
    record = FinishRecord(signed.inference_id, executor, bytes(32), TOKENS_HASH, PROMPT, 10, FinishReason.STOP)
    signature = lab.by_node[executor].sign(Domain.FINISH, lab.network, encode(record))
    lab.put(executor, RecordKind.FINISH, SignedFinish(record, signature))
    lab.put(lab.nodes[0], RecordKind.OUTPUT, OutputRecord(signed.inference_id, lab.nodes[0], TOKENS_HASH, 10))
    assert lab.view.inference(signed.inference_id) is None
    lab.put(lab.nodes[0], RecordKind.START, StartRecord(signed, lab.nodes[0]))
    found = lab.inference(signed.inference_id)
    assert (found.status, found.output_hash, found.streamed_tokens) == ("FINISHED", TOKENS_HASH, 10)
    lab.block(2)
    assert lab.decide(signed.inference_id, lambda node: {}).paid_micro == COST


def play(lab: Lab, agent: int, bad_agent: bytes | None, bad_executor: bytes | None) -> None:
    """One inference started by `agent`; the bad node's record names another output."""
    try:
        signed = lab.start(agent=agent)
    except InvalidRequest:
        return  # suspended
    executor = lab.finish(signed.inference_id, output=False)
    wrong = lab.nodes[agent] == bad_agent or executor == bad_executor
    lab.output(signed.inference_id, 10, OTHER if wrong else TOKENS_HASH)


@pytest.mark.parametrize("bad", ["agent", "executor", "flood"])
def test_only_the_node_that_makes_faults_is_suspended(bad: str) -> None:
    """Partners are drawn at random, so only the bad node is suspended. In the flood, all requests come from the bad
    agent."""
    lab = Lab(8, epoch_blocks=1000, rules=replace(RULES, min_checked_tokens=0))
    bad_node = lab.nodes[0]
    for at in range(240):
        agent = 0 if bad == "flood" else at % 8
        play(lab, agent, None if bad == "executor" else bad_node, bad_node if bad == "executor" else None)
        if at % 8 == 7 and bad != "flood":
            lab.block(2)
    lab.block(3)  # in the flood all are started before the first records are compared
    suspended = {p.node for p in lab.view.participants() if p.suspended_until}
    assert suspended == {bad_node}
    assert part(lab, bad_node).suspended_until == 2000
    assert "the records differ in" in part(lab, bad_node).suspended_reason
    if bad != "executor":
        with pytest.raises(InvalidRequest) as caught:
            lab.start(agent=0)
        assert caught.value.field == "agent"
    assert all(bad_node not in lab.inference(lab.start(agent=1).inference_id).candidates for _ in range(5))
    most = most_of_one_partner(RULES.honest_disagree_ppm, RULES.conviction_ppb)
    assert max(lab.view.conduct(n).differ for n in lab.nodes if n != bad_node) <= most


def test_inferences_of_the_own_owner_are_no_evidence() -> None:
    lab = Lab(6)
    for _ in range(30):
        signed = lab.start(lab.owners[1])
        executor = lab.finish(signed.inference_id, output=False)
        lab.output(signed.inference_id, 10, OTHER)
        if executor == lab.nodes[1]:
            assert lab.view.conduct(executor).paired == lab.view.conduct(executor).differ
    lab.block(2)
    assert lab.view.conduct(lab.nodes[1]).paired == 0


# -- misses, penalties --------------------------------------------------------------------------------------------


def test_misses_count_only_from_more_than_one_agent() -> None:
    """A single agent that never forwards its requests costs an honest executor nothing; an executor that is silent to
    four agents loses half of its reputation."""
    for agents, after in ((1, 80), (4, 40)):
        lab = Lab(5, epoch_blocks=100)
        node = lab.nodes[4]
        lab.view.put_participant(replace(part(lab, node), reputations=reputations(80)))
        for at in range(80):
            signed = lab.start(agent=at % agents, deadline=20)
            first = lab.inference(signed.inference_id).candidates[0]
            if first != node:
                lab.finish(signed.inference_id)
            else:
                candidates = lab.inference(signed.inference_id).candidates
                lab.busy(signed.inference_id, *(other for other in candidates if other != node))
        lab.block(101 - lab.height)
        assert part(lab, node).misses >= 5
        assert part(lab, node).reputation == after, agents


def test_a_false_accuser_pays_from_its_collateral_as_far_as_there_is_any() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    liar, poor = lab.members(inference_id)[:2]
    put_collateral(lab, liar, 25_000)
    put_collateral(lab, poor, 4_000)
    lab.say([lab.verdict(inference_id, n, valid=n not in (liar, poor)) for n in lab.members(inference_id)])
    found = lab.decide(inference_id, lambda node: {})
    assert found.status == "UPHELD"
    assert lab.view.totals().collateral_micro == 15_000
    assert lab.view.totals().burnt_micro == 14_000
    assert earnings.sums(lab.view, 0).penalties_micro == 14_000
    assert earnings.sums(lab.view, 0).balanced


def test_a_right_accuser_and_one_that_missed_the_fault_pay_no_penalty() -> None:
    lab = Lab()
    inference_id = lab.drawn()
    for node in lab.nodes:
        put_collateral(lab, node, 1000)
    missed_it = lab.members(inference_id)[0]
    lab.decide(inference_id, lambda node: {"valid": node == missed_it})
    assert lab.view.conduct(missed_it).outliers == 1, "it is counted as an outlier, but it accused nobody"
    assert lab.view.totals().collateral_micro == 8000


# -- notices ------------------------------------------------------------------------------------------------------


def test_clients_have_notices_of_answers_that_did_not_stand_and_of_no_others() -> None:
    lab = Lab()
    lab.decide(lab.drawn(), lambda node: {})
    assert notices(lab.view, CLIENT.public) == ()
    refused = lab.drawn()
    lab.decide(refused, lambda node: {"valid": False})
    late = lab.start(deadline=5).inference_id
    lab.block(6)
    assert [
        (n.inference_id, n.what) for n in notices(lab.view, CLIENT.public)
    ] == [(refused, "INVALIDATED"), (late, "EXPIRED")]
    first, second = notices(lab.view, CLIENT.public)
    assert (first.amount_micro, second.amount_micro) == (COST, 100 * PRICE)
    assert notices(lab.view, CLIENT.public, first.height) == (second,)
    assert notices(lab.view, CLIENT.public, second.height) == ()


def test_notices_are_bounded_and_the_newest_stay() -> None:
    lab = Lab()
    ids = [lab.start(deadline=5 + at).inference_id for at in range(MAX_NOTICES + 3)]
    lab.block(60)
    assert [n.inference_id for n in notices(lab.view, CLIENT.public)] == ids[3:]


# -- what leaves the state ----------------------------------------------------------------------------------------


def test_ended_inferences_leave_after_keep_epochs_and_cannot_start_again() -> None:
    lab = Lab(epoch_blocks=20, economy=replace(STEADY, keep_epochs=1))
    signed = lab.start(deadline=2000)
    lab.finish(signed.inference_id)
    lab.block(2)
    lab.decide(signed.inference_id, lambda node: {})
    lab.block(39 - lab.height)
    assert lab.view.inference(signed.inference_id) is not None
    lab.block(2)
    assert lab.view.inference(signed.inference_id) is None
    left = [
        key
        for key, value in lab.view.changes.items()
        if value is not None and signed.inference_id in (key[-32:], value)
    ]
    assert not left, "its index is pruned as well"
    with pytest.raises(FolkmootError) as caught:
        lab.put(lab.nodes[0], RecordKind.START, StartRecord(signed, lab.nodes[0]))
    assert caught.value.field == "draw_height"
    assert earnings.sums(lab.view, 0).fees_micro == COST, "the epoch's sums stay"
    assert earnings.earners(lab.view, 0) == []


def test_few_are_pruned_in_one_block_and_all_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "MAX_LEAVING", 4)
    lab = Lab(epoch_blocks=20, economy=replace(STEADY, keep_epochs=1))
    for _ in range(3):
        for _ in range(5):
            lab.start(deadline=5)
        lab.block()

    def held() -> int:
        return sum(key.startswith(b"inf/") and value is not None for key, value in lab.view.changes.items())

    lab.block(39 - lab.height)
    assert held() == 15
    counts = []
    for _ in range(10):
        lab.block()
        counts.append(held())
    assert counts[-1] == 0
    assert all(0 <= a - b <= 4 for a, b in zip([15, *counts], counts, strict=False))


@pytest.mark.parametrize(("tokens_max", "tokens", "good"), [
    # the context is 2048, the prompt 20
    (1, 1, True), (1, 2, False), (50, 50, True), (50, 51, False), (2047, 2028, True), (2047, 2029, False),
])
def test_max_tokens_bounds_what_is_charged(tokens_max: int, tokens: int, good: bool) -> None:
    lab = Lab()
    lab.block()
    signed = signed_request(lab, max_tokens=tokens_max)
    lab.put(lab.nodes[0], RecordKind.START, StartRecord(signed, lab.nodes[0]))
    assert balance(lab) == FULL - (50 + tokens_max) * PRICE
    if not good:
        with pytest.raises(FolkmootError):
            lab.finish(signed.inference_id, tokens=tokens)
        return
    lab.finish(signed.inference_id, tokens=tokens)
    assert balance(lab) == FULL - (PROMPT + tokens) * PRICE


def test_an_answer_that_may_be_a_planted_fault_stays_until_its_reveal_is_due() -> None:
    """In short epochs it would be pruned before its blame is due."""
    lab = Lab(epoch_blocks=4, rules=replace(RULES, plant_window=25), economy=replace(STEADY, keep_epochs=1))
    inference_id = lab.drawn(executor=lab.nodes[1], account=lab.owners[1])
    end = lab.decide(inference_id, lambda node: {"valid": False}).end_height
    lab.block(end + 25 - lab.height)
    assert part(lab, lab.nodes[1]).strikes == 0
    assert lab.inference(inference_id).blame_height == end + 25
    lab.block()
    assert part(lab, lab.nodes[1]).strikes == 1
    lab.block(12)
    assert lab.view.inference(inference_id) is None
