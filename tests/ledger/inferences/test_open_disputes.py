"""While a dispute is open: epochs end, keys change, nodes leave, peers restart, everybody appeals everything; money is
conserved throughout."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules
from p2p.base.keys import Key
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.rules.ops import Appeal, Unregister
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.view import View
from p2p.verification.sequential import EProcess, Evidence
from tests.ledger.account_transactions import balance, part, rotation, submit
from tests.ledger.inferences.test_appeals import (
    APPEALS,
    BOND,
    FULL,
    MONEY,
    NUMBER,
    appeal,
    lab_of,
    lost,
    speak,
    to_window_end,
)
from tests.ledger.lab import CLIENT, STEADY, Lab, false_row, reputations, true_row
from tests.ledger.money.test_epoch_settlement import to_end
from tests.ledger.money.test_money import put_collateral


def test_while_a_dispute_is_open_all_answers_are_checked_whatever_the_reputation() -> None:
    lab = lab_of(rules=replace(APPEALS, min_checked_tokens=0, min_checks=0, saving_micro=0))
    lab.view.put_participant(replace(part(lab, lab.nodes[NUMBER]), reputations=reputations(100)))
    settled = sum(lab.status(lab.drawn(executor=lab.nodes[NUMBER])) == "SETTLED" for _ in range(12))
    assert settled > 6, "at reputation 100 hardly anything is checked"
    while not lab.inference(inference_id := lab.drawn(executor=lab.nodes[NUMBER])).committees:
        pass
    for _ in range(2):
        lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)])
    assert part(lab, lab.nodes[NUMBER]).reputation == 100
    assert all(lab.status(lab.drawn(executor=lab.nodes[NUMBER])) == "VALIDATING" for _ in range(5))


@pytest.mark.parametrize("with_appeal", [False, True])
def test_a_dispute_that_ends_in_the_next_epoch_is_evidence_in_its_own_epochs_test(with_appeal: bool) -> None:
    """Else an executor that cheats late in an epoch would never be convicted."""
    lab = lab_of(epoch_blocks=60, rules=replace(APPEALS, conviction_milli=4000))
    put_collateral(lab, lab.nodes[NUMBER], 10_000)
    lab.block(50)
    inference_id = lost(lab)
    assert lab.height <= 60
    if with_appeal:
        to_window_end(lab, inference_id)
        appeal(lab, inference_id)
        speak(lab, inference_id, 0)
    else:
        lab.until(inference_id, lambda found: found.end_height > 0)
    assert lab.inference(inference_id).end_height > 60
    conduct, found = lab.view.conduct(lab.nodes[NUMBER]), part(lab, lab.nodes[NUMBER])
    assert conduct.evidence.sure.now == EProcess(), "it is no evidence in the e-process that began with this epoch"
    assert conduct.evidence.log_milli() > 4000
    assert (found.convicted_until, found.convictions) == (180, 1)
    assert found.convicted_reason.startswith("epoch 1: ")
    assert found.convicted_reason.endswith("1 inferences were checked in it")
    assert to_end(lab).slashed_micro == 2000
    lab.block(60)
    assert part(lab, lab.nodes[NUMBER]).convicted_until == 0
    assert to_end(lab).slashed_micro == 0


def test_what_ended_in_the_epoch_and_what_ended_later_add_up() -> None:
    """Three answers at the cap convict: two decided in their epoch, the third in the next."""
    lab = lab_of(epoch_blocks=80)
    for _ in range(2):
        inference_id = lost(lab)
        to_window_end(lab, inference_id)
        lab.block()
    assert lab.height < 70
    lab.block(72 - lab.height)
    inference_id = lost(lab)
    assert lab.height <= 80
    to_window_end(lab, inference_id)
    assert part(lab, lab.nodes[NUMBER]).convicted_until == 0
    lab.block()
    assert part(lab, lab.nodes[NUMBER]).convicted_reason.startswith("epoch 1: log e-value 15")


def test_a_dispute_of_two_epochs_ago_is_no_evidence() -> None:
    lab = lab_of(epoch_blocks=10, rules=replace(APPEALS, appeal_window=25))
    inference_id = lost(lab)
    to_window_end(lab, inference_id)
    lab.block()
    conduct = lab.view.conduct(lab.nodes[NUMBER])
    assert (conduct.checked, conduct.struck) == (1, 1)
    assert conduct.evidence == Evidence().after_epoch(begun=True)


def test_appealing_everything_does_not_keep_a_cheat_from_being_convicted() -> None:
    lab = lab_of()
    for number in range(3):
        assert part(lab, lab.nodes[NUMBER]).convicted_until == 0, number
        inference_id = lost(lab)
        appeal(lab, inference_id)
        speak(lab, inference_id, 0)
    assert (part(lab, lab.nodes[NUMBER]).convictions, lab.view.totals().burnt_micro) == (1, 3 * BOND)


def test_a_rotated_key_keeps_its_open_disputes() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    old, new = lab.keys[NUMBER], Key(b"\xee" * 32)
    submit(lab, lab.owners[NUMBER], rotation(lab, lab.owners[NUMBER], old, new))
    assert open_disputes(lab.view, new.public) == open_disputes(lab.view, old.public) == [inference_id]
    appeal(lab, inference_id)
    speak(lab, inference_id, 0)
    assert (part(lab, new.public).strikes, lab.status(inference_id)) == (1, "INVALIDATED")
    assert not open_disputes(lab.view, new.public)


def test_an_executor_leaves_only_when_its_disputes_are_decided() -> None:
    lab = lab_of(epoch_blocks=30, economy=replace(MONEY, withdraw_wait=2))
    put_collateral(lab, lab.nodes[NUMBER], 10_000)
    inference_id = lost(lab)
    submit(lab, lab.owners[NUMBER], Unregister(lab.nodes[NUMBER]))
    lab.block(4)
    assert part(lab, lab.nodes[NUMBER]).collateral_micro == 10_000
    appeal(lab, inference_id)
    assert lab.status(inference_id) == "APPEALED"
    speak(lab, inference_id, 7)
    assert lab.status(inference_id) == "UPHELD"
    lab.block(30)
    assert lab.view.participant(lab.nodes[NUMBER]) is None
    assert balance(lab, lab.owners[NUMBER].public) > FULL + 10_000 - BOND, "collateral, bond and fees are returned"


def test_the_bond_returns_to_the_account_that_paid_it_whatever_became_of_the_node() -> None:
    lab = lab_of()
    inference_id = lost(lab)
    appeal(lab, inference_id)
    lab.view.put(b"part/" + lab.nodes[NUMBER], None)
    lab.until(inference_id, lambda found: found.end_height > 0)
    assert balance(lab, lab.owners[NUMBER].public) == FULL


@pytest.mark.parametrize("appealed", [False, True])
def test_an_answer_to_ones_own_owner_is_blamed_after_its_dispute(appealed: bool) -> None:
    lab = lab_of()
    owner = lab.owners[NUMBER]
    inference_id = lost(lab, owner)
    if appealed:
        appeal(lab, inference_id)
        speak(lab, inference_id, 0)
    else:
        to_window_end(lab, inference_id)
        lab.block()
    found = lab.inference(inference_id)
    assert (found.status, found.blame_height) == ("INVALIDATED", found.end_height + APPEALS.plant_window)
    assert balance(lab, owner.public) + lab.view.totals().escrow_micro == FULL - BOND * appealed, (
        "others of its requests may be open"
    )
    assert part(lab, lab.nodes[NUMBER]).strikes == 0
    lab.block(APPEALS.plant_window + 1)
    assert part(lab, lab.nodes[NUMBER]).strikes == 1
    assert lab.view.conduct(lab.nodes[NUMBER]).checked == 0


def test_a_plant_is_revealed_after_the_window() -> None:
    lab = lab_of()
    owner, node = lab.owners[NUMBER], lab.nodes[NUMBER]
    start = lab.start(owner)
    while node not in lab.inference(start.inference_id).candidates:
        start = lab.start(owner)
    lab.plant(start.inference_id, node)
    lab.finish(start.inference_id, node)
    lab.block(2)
    lab.decide(start.inference_id, lambda _: {"valid": False})
    lab.show(start.inference_id, node)
    lab.block(APPEALS.plant_window + 2)
    assert part(lab, node).strikes == 0
    assert [count.caught for count in lab.view.counters().faults] == [1]


def test_a_peer_that_restarts_during_an_appeal_continues_as_before() -> None:
    ends, stored = [], {}
    for restarts in (False, True):
        lab = lab_of()

        def restart(lab: Lab = lab, go: bool = restarts) -> None:
            if go:
                stored.update(lab.view.changes)
                lab.view = View(stored.get)

        inference_id = lost(lab)
        restart()
        submit(lab, lab.owners[NUMBER], Appeal(inference_id))
        lab.block()
        restart()
        lab.block()
        restart()
        speak(lab, inference_id, 7)
        assert lab.status(inference_id) == "UPHELD"
        ends.append(
            [
                encode(lab.inference(inference_id)),
                encode(lab.view.totals()),
                *(encode(lab.view.conduct(n)) for n in lab.nodes),
            ]
        )
    assert ends[0] == ends[1]


# -- anything -----------------------------------------------------------------------------------------------------

ACTS = st.lists(st.tuples(
    st.sampled_from(
        ["ask", *["dispute"] * 2, *["say"] * 2, *["appeal"] * 3, "block", "wait", "bar", "rotate", "leave"]
    ),
    st.integers(0, 20), st.integers(0, 127),
), min_size=8, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTS, st.integers(0, 20_000), st.integers(2, 12))
def test_money_is_conserved_whatever_is_appealed(acts: list[tuple[str, int, int]], bond: int, window: int) -> None:
    """Many disputes at once, with short epochs, convictions, bars, rotations and departures. After every block money is
    conserved (the lab checks it), after every epoch M12 holds; each dispute is closed when it ends, and every bond is
    returned or burnt."""
    rules = CheckRules(
        reveal_window=2, plant_window=3, min_checked_tokens=0, conviction_milli=15_000, appeal_window=window
    )
    economy = replace(STEADY, appeal_bond_micro=bond, withdraw_wait=3, keep_epochs=1000)
    lab = Lab(12, epoch_blocks=11, rules=rules, validation_window=2, economy=economy, committee=2)
    ids: list[bytes] = []
    for act, who, how in acts:
        try:
            match act:
                case "ask" | "case":
                    start = lab.start(lab.owners[who % 12] if how % 5 == 0 else CLIENT, agent=who % 12)
                    ids.append(start.inference_id)
                    if lab.inference(start.inference_id).candidates:
                        lab.finish(start.inference_id, tokens=5)
                    lab.block(2)
                    if act == "dispute":
                        say_something(lab, start.inference_id, 0)
                        say_something(lab, start.inference_id, 0)
                case "say" if ids:
                    say_something(lab, ids[-1 - who % min(len(ids), 3)], how)
                case "appeal" if ids and (finish := lab.inference(at := ids[-1 - who % min(len(ids), 3)]).finish):
                    owner = next(key for key in lab.owners if key.public == lab.view.owner_of(finish.record.executor))
                    submit(lab, owner, Appeal(at))
                    lab.block(2)
                    if how % 4:
                        say_something(lab, at, how if how % 3 else 127)
                case "block":
                    lab.block(1 + how % 3)
                case "wait":
                    lab.block(4 + how % 12)
                case "bar" if (found := lab.view.participant(lab.nodes[who % 12])):
                    lab.view.put_participant(replace(found, barred_until=found.barred_until or lab.height + 9))
                case "rotate":
                    old, new = lab.keys[who % 12], Key(bytes([200 + who % 12]) * 32)
                    lab.by_node[new.public] = new
                    submit(lab, lab.owners[who % 12], rotation(lab, lab.owners[who % 12], old, new))
                case "leave":
                    submit(lab, lab.owners[who % 12], Unregister(lab.nodes[who % 12]))
        except FolkmootError:
            pass  # refused
    lab.block((-lab.height) % 11 + 1 + 11 * 6)
    assert lab.view.totals().due_micro == lab.view.totals().escrow_micro == 0, "nothing is left behind"
    burnt = 0
    for inference_id in ids:
        found_inference = lab.inference(inference_id)
        assert found_inference.end_height > 0
        if found_inference.appeal:
            burnt += found_inference.appeal.burnt_micro
            assert found_inference.appeal.burnt_micro in (0, bond if found_inference.status == "INVALIDATED" else 0)
    assert not [key for key, value in lab.view.changes.items() if key.startswith(b"cases/") and value is not None]
    sums = [earnings.sums(lab.view, epoch) for epoch in range((lab.height - 1) // 11)]
    assert all(one.balanced for one in sums)
    assert sum(one.burnt_micro for one in sums) == lab.view.totals().burnt_micro >= burnt


def say_something(lab: Lab, inference_id: bytes, how: int) -> None:
    """The committee at work commits and reveals; the bits of `how` say what each member's verdict is, and some stay
    silent."""
    found = lab.inference(inference_id)
    if found.end_height or not found.committees or found.status == "APPEALABLE":
        return
    verdicts = [
        lab.verdict(inference_id, node, valid=bool(how >> at & 1), row=false_row if how % 11 == at else true_row)
        for at, node in enumerate(found.committees[-1].members) if how % 13 != at
    ]
    for verdict in verdicts:
        lab.commit(verdict)
    lab.block(1 if len(verdicts) == len(found.committees[-1].members) else 3)
    for verdict in verdicts:
        lab.reveal(verdict)
    lab.block()
