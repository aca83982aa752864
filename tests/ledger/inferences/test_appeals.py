"""A lost dispute can be appealed once: a larger committee of other validators is drawn, all verdicts vote, and the bond
is returned or burnt. Money is conserved throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.genesis import CheckRules, EconomyRules
from p2p.base.keys import Key
from p2p.chain.views.conduct import verification_answer
from p2p.chain.views.earnings import earnings_answer
from p2p.chain.views.inferences import inference_answer
from p2p.ledger.rules.ops import Appeal
from p2p.ledger.rules.parameters import changed
from p2p.ledger.state.open_disputes import open_disputes
from p2p.wire.answers.network import OpenDispute
from tests.ledger.account_transactions import balance, part, refused, signed, submit
from tests.ledger.lab import CLIENT, PRICE, PROMPT, RULES, STEADY, Lab
from tests.ledger.money.test_epoch_settlement import to_end
from tests.ledger.money.test_money import put_collateral

COST, FULL = (PROMPT + 10) * PRICE, 10**9
WINDOW, BOND = 12, 5000
APPEALS = replace(RULES, appeal_window=WINDOW)
MONEY = replace(STEADY, appeal_bond_micro=BOND)
NUMBER = 1  # number of the executor


def lab_of(peers: int = 15, **change: Any) -> Lab:
    """Enough peers for committees of 3, 3 and 7 besides the executor. Peer 12 shares its owner with another peer, so
    that the owner is not the client."""
    return Lab(peers, **{"rules": APPEALS, "economy": MONEY, "owners": {12: 20}, **change})


def lost(
    lab: Lab, account: Key = CLIENT, says: Callable[[bytes], dict[str, Any]] = lambda _: {"valid": False}
) -> bytes:
    """An answer of peer NUMBER that two committees refused; its id."""
    inference_id = lab.drawn(executor=lab.nodes[NUMBER], account=account)
    for _ in range(2):
        lab.say([lab.verdict(inference_id, node, **says(node)) for node in lab.members(inference_id)])
    assert lab.status(inference_id) == "APPEALABLE"
    return inference_id


def appeal(lab: Lab, inference_id: bytes) -> None:
    submit(lab, lab.owners[NUMBER], Appeal(inference_id))
    lab.block(1 + lab.genesis.validation_delay)


def speak(lab: Lab, inference_id: bytes, valid: int) -> None:
    """The appeal's committee votes: the first `valid` of its members say 'valid', the others 'invalid'."""
    lab.say([lab.verdict(inference_id, node, valid=at < valid) for at, node in enumerate(lab.members(inference_id))])


def to_window_end(lab: Lab, inference_id: bytes) -> None:
    """Up to the last height at which it can be appealed; that block is not ended yet."""
    lab.block(lab.inference(inference_id).appeal_until - lab.height)


def clients(lab: Lab) -> int:
    """The client's money, including the escrow of other requests that are still open."""
    return balance(lab, CLIENT.public) + lab.view.totals().escrow_micro


# -- without an appeal --------------------------------------------------------------------------------------------


def test_a_lost_dispute_waits_and_no_money_moves() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    found = lab.inference(inference_id)
    assert (found.appeal_until, found.reason, found.end_height) == (lab.height - 1 + WINDOW, "because", 0)
    assert (lab.view.totals().due_micro, clients(lab)) == (COST, FULL - COST)
    assert (part(lab, lab.nodes[NUMBER]).strikes, lab.view.conduct(lab.nodes[NUMBER]).checked) == (0, 0)
    assert all(lab.view.conduct(node).compared == 0 and not lab.view.ids(b"duty/" + node) for node in lab.nodes)
    to_window_end(lab, inference_id)
    assert lab.status(inference_id) == "APPEALABLE", "deadlines of earlier phases, which pass meanwhile, have no effect"
    lab.block()
    found = lab.inference(inference_id)
    assert (
        found.status, found.end_height, found.refunded_micro, found.reason
    ) == ("INVALIDATED", found.appeal_until, COST, "because")
    assert (part(lab, lab.nodes[NUMBER]).strikes, lab.view.conduct(lab.nodes[NUMBER]).checked) == (1, 1)
    assert clients(lab) == FULL
    assert sum(lab.view.conduct(node).compared for node in lab.nodes) == 6
    assert not open_disputes(lab.view, lab.nodes[NUMBER])


@pytest.mark.parametrize("lab", [lambda: lab_of(rules=RULES), lambda: lab_of(7)], ids=["no window", "all were asked"])
def test_where_no_appeal_is_possible_it_ends_at_once(lab: Callable[[], Lab]) -> None:
    here = lab()
    inference_id = here.drawn(executor=here.nodes[NUMBER])
    for _ in range(2):
        here.say([here.verdict(inference_id, node, valid=False) for node in here.members(inference_id)])
    found = here.inference(inference_id)
    assert (found.status, found.end_height, found.appeal_until) == ("INVALIDATED", here.height - 1, 0)


def split(lab: Lab, accusers: int = 2) -> tuple[bytes, list[bytes], list[bytes]]:
    """An answer of peer NUMBER that `accusers` of each committee refused, lost by one vote each time: its id, the
    accusers, and the others."""
    inference_id = lab.drawn(executor=lab.nodes[NUMBER])
    said: tuple[list[bytes], list[bytes]] = [], []
    for _ in range(2):
        members = lab.members(inference_id)
        for at, node in enumerate(members):
            said[at >= accusers].append(node)
        lab.say([lab.verdict(inference_id, node, valid=at >= accusers) for at, node in enumerate(members)])
    assert lab.status(inference_id) == "APPEALABLE"
    return inference_id, *said


def weigh(lab: Lab, nodes: list[bytes], weight: int) -> None:
    for node in nodes:
        lab.view.put_participant(replace(part(lab, node), weight=weight))


def leave(lab: Lab, nodes: list[bytes]) -> None:
    for node in nodes:
        lab.view.put(b"part/" + node, None)


BETWEEN = pytest.mark.parametrize("between", [
    lambda lab, accusers, others: bar(lab, accusers), lambda lab, accusers, others: weigh(lab, others, 1000),
    lambda lab, accusers, others: weigh(lab, accusers, 1), lambda lab, accusers, others: leave(lab, accusers),
    lambda lab, accusers, others: bar(lab, accusers + others),
], ids=["accusers are barred", "the others gain weight", "accusers lose weight", "accusers leave", "all are barred"])


@BETWEEN
def test_without_an_appeal_nothing_that_happens_meanwhile_turns_the_decision(between: Callable[..., None]) -> None:
    """A bar means that a validator is often away or an outlier; it says nothing about this answer."""
    lab = lab_of()
    inference_id, accusers, others = split(lab)
    between(lab, accusers, others)
    to_window_end(lab, inference_id)
    lab.block()
    found = lab.inference(inference_id)
    assert (
        found.status, found.reason, found.refunded_micro, part(lab, lab.nodes[NUMBER]).strikes
    ) == ("INVALIDATED", "because", COST, 1)
    finders = {one.validator for one in lab.view.conduct(lab.nodes[NUMBER]).finders}
    assert finders == set(accusers), "the accusers share the bounty, as if the decision had been final"
    assert not any(lab.view.conduct(node).compared for node in accusers if lab.view.participant(node) is None), (
        "a participant that left has no counters"
    )


def test_a_bar_that_ends_within_the_window_brings_no_verdict_back() -> None:
    lab = lab_of()
    inference_id = lab.drawn(executor=lab.nodes[NUMBER])
    for _ in range(2):
        members = lab.members(inference_id)
        bar(lab, members[1:])
        lab.say([lab.verdict(inference_id, node, valid=at > 0) for at, node in enumerate(members)])
    assert lab.status(inference_id) == "APPEALABLE", "two verdicts against none"
    for node in lab.nodes:
        lab.view.put_participant(replace(part(lab, node), barred_until=0))
    to_window_end(lab, inference_id)
    lab.block()
    assert lab.status(inference_id) == "INVALIDATED"


# -- with one -----------------------------------------------------------------------------------------------------


def test_an_appeal_draws_a_larger_committee_of_others_from_a_later_beacon() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    before = lab.inference(inference_id).members
    owner = lab.owners[NUMBER].public
    submit(lab, lab.owners[NUMBER], Appeal(inference_id))
    ordered = lab.height
    assert (balance(lab, owner), lab.view.totals().due_micro) == (FULL - BOND, COST + BOND)
    lab.block()
    assert lab.status(inference_id) == "APPEALABLE", "whoever sends it may know the beacon of its own block"
    lab.block()
    found = lab.inference(inference_id)
    assert (found.status, found.committees[-1].height) == ("APPEALED", ordered + lab.genesis.validation_delay)
    assert found.committees[-1].beacon == lab.view.beacon(found.committees[-1].height)
    assert len(found.committees[-1].members) == 7
    assert not {*before, lab.nodes[NUMBER]} & set(found.committees[-1].members)


def test_an_appeal_that_is_won_pays_the_executor_and_returns_the_bond() -> None:
    lab = lab_of(rules=replace(APPEALS, grey_milli=0))
    for node in lab.nodes:
        put_collateral(lab, node, 50_000)
    before = balance(lab, lab.owners[NUMBER].public)
    inference_id = lost(lab)
    liars = lab.inference(inference_id).members
    appeal(lab, inference_id)
    speak(lab, inference_id, 7)
    found = lab.inference(inference_id)
    assert (found.status, found.paid_micro, found.reason) == ("UPHELD", COST, "")
    assert balance(lab, lab.owners[NUMBER].public) == before
    executor = part(lab, lab.nodes[NUMBER])
    assert (executor.strikes, lab.view.conduct(executor.node).checked, executor.convicted_until) == (0, 1, 0)
    assert [lab.view.conduct(node).outliers for node in liars] == [1] * 6
    assert lab.view.totals().burnt_micro == 6 * MONEY.accuse_penalty_micro, "M11, each accuser"
    assert lab.view.totals().due_micro == COST
    assert lab.view.counters().false_alarms == 1
    assert not open_disputes(lab.view, lab.nodes[NUMBER])
    (row,) = earnings_answer(lab.ctx, 0, lab.nodes[NUMBER], 0).inferences
    assert (row.what, row.rule, row.bond_micro, row.burnt_micro) == ("booked", "M14", BOND, 0)


@pytest.mark.parametrize("valid", [0, 6], ids=["all confirm", "more weight confirms, of all committees"])
def test_an_appeal_that_is_lost_burns_the_bond(valid: int) -> None:
    lab = lab_of(epoch_blocks=60)
    inference_id = lost(lab)
    appeal(lab, inference_id)
    speak(lab, inference_id, valid)
    found = lab.inference(inference_id)
    assert (found.status, found.refunded_micro, found.due_micro) == ("INVALIDATED", COST, 0)
    assert (clients(lab), balance(lab, lab.owners[NUMBER].public)) == (FULL, FULL - BOND)
    assert (
        part(lab, lab.nodes[NUMBER]).strikes, lab.view.totals().due_micro, lab.view.totals().burnt_micro
    ) == (1, 0, BOND)
    (row,) = earnings_answer(lab.ctx, 0, lab.nodes[NUMBER], 0).inferences
    assert (row.what, row.rule, row.burnt_micro) == ("refused", "M15", BOND)
    sums = to_end(lab)
    assert (sums.penalties_micro, sums.burnt_micro) == (BOND, BOND), "M12 holds with it"


def test_nobody_speaks_in_the_appeal() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    appeal(lab, inference_id)
    asked = lab.members(inference_id)
    lab.until(inference_id, lambda found: found.end_height > 0)
    assert lab.status(inference_id) == "INVALIDATED"
    assert (balance(lab, lab.owners[NUMBER].public), lab.view.totals().burnt_micro) == (FULL, 0), "nobody heard it"
    assert [lab.view.conduct(node).missed for node in asked] == [0] * 7, (
        "where all were silent nobody has a miss (decision 019)"
    )
    assert len(lab.inference(inference_id).committees) == 3, "and there is no fourth committee"


def test_only_barred_validators_speak_in_the_appeal() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    appeal(lab, inference_id)
    for node in lab.members(inference_id):
        lab.view.put_participant(replace(part(lab, node), barred_until=1000))
    speak(lab, inference_id, 0)
    assert (lab.status(inference_id), lab.view.totals().burnt_micro) == ("INVALIDATED", 0)
    assert balance(lab, lab.owners[NUMBER].public) == FULL


def bar(lab: Lab, nodes: Any) -> None:
    for node in nodes:
        lab.view.put_participant(replace(part(lab, node), barred_until=1000))


def test_where_nobody_is_left_for_the_appeals_committee_the_bond_returns() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    submit(lab, lab.owners[NUMBER], Appeal(inference_id))
    bar(lab, set(lab.nodes) - lab.inference(inference_id).members - {lab.nodes[NUMBER]})
    lab.block(2)
    assert (lab.status(inference_id), balance(lab, lab.owners[NUMBER].public)) == ("INVALIDATED", FULL)


@BETWEEN
@pytest.mark.parametrize("heard", [False, True])
def test_an_appeal_without_a_verdict_in_its_favour_changes_nothing(between: Callable[..., None], heard: bool) -> None:
    """This holds also where the accusers have lost their weight: else whoever takes their weight away could turn a
    decision."""
    lab = lab_of()
    inference_id, accusers, others = split(lab)
    appeal(lab, inference_id)
    between(lab, accusers, others)
    if heard:
        lab.say([lab.verdict(inference_id, lab.members(inference_id)[0], valid=False)])
    lab.until(inference_id, lambda found: found.end_height > 0)
    assert (lab.status(inference_id), balance(lab, lab.owners[NUMBER].public)) == ("INVALIDATED", FULL - BOND * heard)
    assert (clients(lab), lab.view.totals().due_micro) == (FULL, 0)
    assert not open_disputes(lab.view, lab.nodes[NUMBER])


def test_an_appeal_that_is_won_finds_false_accusers_that_were_barred_meanwhile() -> None:
    lab = lab_of(rules=replace(APPEALS, grey_milli=0))
    inference_id, accusers, _ = split(lab)
    for node in accusers:
        put_collateral(lab, node, 50_000)
    appeal(lab, inference_id)
    bar(lab, accusers)
    speak(lab, inference_id, 7)
    assert lab.status(inference_id) == "UPHELD"
    assert lab.view.totals().burnt_micro == 4 * MONEY.accuse_penalty_micro, "a bar does not save them from M11"


def test_without_an_output_record_a_won_appeal_waits_for_it() -> None:
    lab = lab_of(economy=replace(MONEY, output_window=400))
    start = lab.start()
    while lab.nodes[NUMBER] not in lab.inference(start.inference_id).candidates:
        start = lab.start()
    inference_id = start.inference_id
    lab.finish(inference_id, lab.nodes[NUMBER], output=False)
    lab.block(2)
    for _ in range(2):
        lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)])
    appeal(lab, inference_id)
    for verdict in (verdicts := [lab.verdict(inference_id, node) for node in lab.members(inference_id)]):
        lab.commit(verdict)
    lab.block()
    for verdict in verdicts:
        lab.reveal(verdict)
    lab.block()
    assert (lab.status(inference_id), lab.inference(inference_id).outcome) == ("FINISHED", "UPHELD")
    assert balance(lab, lab.owners[NUMBER].public) == FULL
    lab.output(inference_id)
    lab.block()
    assert lab.status(inference_id) == "UPHELD"


# -- what is refused ----------------------------------------------------------------------------------------------


def poor(lab: Lab, inference_id: bytes) -> None:
    account = lab.view.account(lab.owners[NUMBER].public)
    lab.view.put_account(lab.owners[NUMBER].public, replace(account, balance_micro=BOND - 1))


def too_late(lab: Lab, inference_id: bytes) -> None:
    to_window_end(lab, inference_id)
    lab.block()


def everybody_was_asked(lab: Lab, inference_id: bytes) -> None:
    bar(lab, set(lab.nodes) - lab.inference(inference_id).members - {lab.nodes[NUMBER]})


@pytest.mark.parametrize(
    ("before", "who", "field"),
    [
        (None, CLIENT, "account"),
        (None, 2, "account"),
        (poor, NUMBER, "amount_micro"),
        (too_late, NUMBER, "inference_id"),
        (appeal, NUMBER, "inference_id"),
        (everybody_was_asked, NUMBER, "inference_id"),
        (lambda lab, i: submit(lab, lab.owners[NUMBER], Appeal(i)), NUMBER, "inference_id"),
        (lambda lab, i: (appeal(lab, i), speak(lab, i, 0)), NUMBER, "inference_id"),
        (lambda lab, i: (appeal(lab, i), speak(lab, i, 7)), NUMBER, "inference_id"),
    ],
    ids=[
        "client",
        "stranger",
        "poor",
        "too late",
        "twice",
        "nobody left",
        "twice in a block",
        "after a lost one",
        "after a won one",
    ],
)
def test_appeals_that_are_refused(before: Any, who: Any, field: str) -> None:
    lab = lab_of()
    inference_id = lost(lab)
    if before:
        before(lab, inference_id)
    key = lab.owners[who] if isinstance(who, int) else who
    refused(lab, signed(lab, key, Appeal(inference_id)), field)


def test_only_what_is_lost_can_be_appealed() -> None:
    lab = lab_of()
    refused(lab, signed(lab, lab.owners[NUMBER], Appeal(bytes(32))), "inference_id")
    started = lab.start().inference_id
    refused(lab, signed(lab, lab.owners[NUMBER], Appeal(started)), "inference_id")
    inference_id = lab.drawn(executor=lab.nodes[NUMBER])
    refused(lab, signed(lab, lab.owners[NUMBER], Appeal(inference_id)), "inference_id")
    lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)])
    assert lab.status(inference_id) == "DISPUTED"
    refused(lab, signed(lab, lab.owners[NUMBER], Appeal(inference_id)), "inference_id")


def test_the_last_height_of_the_window_is_in_time() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    to_window_end(lab, inference_id)
    appeal(lab, inference_id)
    assert lab.status(inference_id) == "APPEALED"


def test_between_the_appeal_and_its_draw_nobody_can_commit() -> None:
    """Else a silent member of the second committee could still add its verdict."""
    lab = lab_of()
    inference_id = lost(lab)
    submit(lab, lab.owners[NUMBER], Appeal(inference_id))
    with pytest.raises(FolkmootError):
        lab.commit(lab.verdict(inference_id, lab.members(inference_id)[0]))


def test_an_appeals_committee_is_not_smaller_than_a_disputes() -> None:
    with pytest.raises(InvalidRequest) as caught:
        changed(CheckRules(), (("dispute_committee", 9),))
    assert caught.value.field == "appeal_committee"
    assert changed(CheckRules(), (("dispute_committee", 9), ("appeal_committee", 9))).appeal_committee == 9


# -- what people see ----------------------------------------------------------------------------------------------


def test_the_views_say_until_when_and_by_which_rule() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    until = lab.inference(inference_id).appeal_until
    seen = inference_answer(inference_id, lab.inference(inference_id))
    assert (seen.status, seen.appeal_until, seen.appeal) == ("APPEALABLE", until, None)
    (dispute,) = earnings_answer(lab.ctx, 0, lab.nodes[NUMBER], 0).open
    assert dispute == OpenDispute(
        inference_id.hex(), "M13", "APPEALABLE", "because", until, appealed=False, due_micro=COST, bond_micro=BOND
    )
    (row,) = [r for r in verification_answer(lab.ctx).participants if r.open_disputes]
    assert row.node == lab.nodes[NUMBER].hex()
    appeal(lab, inference_id)
    (dispute,) = earnings_answer(lab.ctx, 0, lab.nodes[NUMBER], 0).open
    assert (dispute.appealed, dispute.status) == (True, "APPEALED")
    speak(lab, inference_id, 0)
    seen = inference_answer(inference_id, lab.inference(inference_id))
    assert seen.appeal is not None
    assert seen.appeal.burnt_micro == BOND
    assert earnings_answer(lab.ctx, 0, lab.nodes[NUMBER], 0).open == ()


def test_the_defaults_allow_an_appeal() -> None:
    rules, economy = CheckRules(), EconomyRules()
    assert 0 < rules.appeal_window < 100
    assert rules.appeal_committee > rules.dispute_committee
    assert economy.appeal_bond_micro > 0
