"""Votes: what can be proposed, who decides, when a change takes effect; models in the state; and that behaviour does
change."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.errors import InvalidRequest
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Key
from p2p.chain.views.inferences import claim
from p2p.ledger.governance import ACCEPTED, IN_FORCE, MAX_OPEN, OPEN, REJECTED, VOID, Proposal, proposals
from p2p.ledger.rules.models import model_spec, spec_at
from p2p.ledger.rules.ops import (
    AddModel,
    Change,
    ChangeChecks,
    ChangeEconomy,
    ChangeModel,
    Propose,
    RetireModel,
    Unregister,
    Vote,
)
from tests.ledger.account_transactions import ECONOMY, VOTING, lab_of, refused, signed, submit
from tests.ledger.lab import Lab

STRANGER = Key(b"\x79" * 32)
SPEC = ModelSpec("new", bytes(32), bytes(32), "bfloat16", 3, 1, 2048)
EPOCH = 20


def last(lab: Lab) -> tuple[bytes, Proposal]:
    return proposals(lab.view)[-1]


def put_to_vote(lab: Lab, change: Change, yes: int = 8, by: int = 0) -> bytes:
    submit(lab, lab.owners[by], Propose(change))
    key, _ = last(lab)
    for at in range(8):
        submit(lab, lab.owners[at], Vote(key, at < yes))
    return key


def accept(lab: Lab, *changes: Change) -> None:
    """Vote the changes in; all are in force afterwards."""
    for by, change in enumerate(changes):
        put_to_vote(lab, change, by=by)
    lab.block(EPOCH + 1)


@pytest.mark.parametrize(("change", "field"), [
    (ChangeChecks((("reveal_windows", 3),)), "reveal_windows"),
    (ChangeChecks((("reveal_window", 0),)), "reveal_window"),
    (ChangeChecks((("reveal_window", "3"),)), "reveal_window"),
    (ChangeChecks((("reveal_window", 3), ("reveal_window", 4))), "reveal_window"),
    (ChangeChecks((("false_alarm_ppm", 500),)), "false_alarm_ppm"),
    (ChangeEconomy((("gov_quorum_milli", 1001),)), "gov_quorum_milli"),
    (ChangeEconomy((("gov_quorum_milli", 499),)), "gov_quorum_milli"),
    (ChangeEconomy((("price_low_milli", 700),)), "price_low_milli"),
    (ChangeEconomy((("burn_share_milli", 950),)), "burn_share_milli"),
    (AddModel(replace(SPEC, model="toy")), "model"),
    (AddModel(replace(SPEC, retired=True)), "retired"),
    (AddModel(replace(SPEC, price_floor_micro=4)), "price_micro"),
    (ChangeModel("nope", (("price_micro", 4),)), "model"),
    (ChangeModel("toy", (("model", "x"),)), "model"),
    (ChangeModel("toy", (("retired", 1),)), "retired"),
    (ChangeModel("toy", (("weights_hash", "xyz"),)), "weights_hash"),
    (RetireModel("nope"), "model"),
], ids=str)
def test_an_impossible_change_is_not_put_to_a_vote(change: Change, field: str) -> None:
    lab = lab_of()
    refused(lab, signed(lab, lab.owners[0], Propose(change)), field)


def test_an_accepted_change_holds_from_the_next_epochs_first_height_and_changes_what_is_done() -> None:
    lab = lab_of()
    key = put_to_vote(lab, ChangeChecks((("reveal_window", 2),)), yes=4)
    lab.block(VOTING)
    assert last(lab)[1].state == OPEN
    lab.block()
    assert (last(lab)[1].state, last(lab)[1].yes_weight, last(lab)[1].total_weight) == (ACCEPTED, 40, 80), (
        "half is enough at 500"
    )
    lab.block(EPOCH - lab.height)
    assert lab.ctx.checks == lab.genesis.checks, "until the epoch is over"
    lab.block()
    assert (lab.height, last(lab)) == (EPOCH + 1, (key, replace(last(lab)[1], state=IN_FORCE)))
    assert lab.ctx.checks == replace(lab.genesis.checks, reveal_window=2)
    inference_id = lab.drawn()
    for node in lab.members(inference_id):
        lab.commit(lab.verdict(inference_id, node))
    lab.until(inference_id, lambda found: found.committees[-1].revealing)
    assert lab.inference(inference_id).committees[-1].closes == lab.height - 1 + 2


@pytest.mark.parametrize("trick", ["leaves", "is convicted", "loses its weight"])
def test_a_minority_cannot_win_by_voting_and_losing_weight(trick: str) -> None:
    """Three of eight vote yes and then lose weight; the others are silent. Counted with the weights at the time of the
    vote, of those that are left, they would be more than half."""
    lab = lab_of()
    put_to_vote(lab, ChangeEconomy((("slash_milli", 1000),)), yes=3)
    for at in range(3):
        voter = lab.view.participant(lab.nodes[at])
        assert voter is not None
        if trick == "leaves":
            submit(lab, lab.owners[at], Unregister(lab.nodes[at]))
        else:
            lab.view.put_participant(
                replace(voter, convicted_until=500) if trick == "is convicted" else replace(voter, weight=0)
            )
    lab.block(VOTING + 1)
    found = last(lab)[1]
    assert (found.state, found.yes_weight, found.total_weight) == (
        REJECTED, 0, 50 if trick == "loses its weight" else 80
    )


def test_a_leaving_node_counts_in_the_total_but_has_no_vote() -> None:
    lab = lab_of()
    put_to_vote(lab, ChangeEconomy((("slash_milli", 1000),)), yes=4)
    submit(lab, lab.owners[3], Unregister(lab.nodes[3]))
    lab.block(VOTING + 1)
    assert (last(lab)[1].state, last(lab)[1].yes_weight, last(lab)[1].total_weight) == (REJECTED, 30, 80)


def test_less_than_the_quorum_is_a_no() -> None:
    lab = lab_of()
    put_to_vote(lab, ChangeChecks((("reveal_window", 2),)), yes=3)
    lab.block(EPOCH + 1)
    assert last(lab)[1].state == REJECTED
    assert lab.ctx.checks == lab.genesis.checks


def test_who_may_propose_and_vote_and_how_often() -> None:
    lab = lab_of(peers=20, owners={1: 0}, epoch_blocks=1000)
    change = ChangeChecks((("reveal_window", 2),))
    refused(lab, signed(lab, STRANGER, Propose(change)), "account")
    submit(lab, lab.owners[0], Propose(change))
    key, _ = last(lab)
    refused(lab, signed(lab, lab.owners[0], Propose(change)), "account")
    refused(lab, signed(lab, STRANGER, Vote(key, True)), "account")
    submit(lab, lab.owners[0], Vote(key, True))
    assert last(lab)[1].yes_weight == 20, "the votes of both its nodes count"
    refused(lab, signed(lab, lab.owners[1], Vote(key, False)), "account")
    submit(lab, lab.owners[2], Unregister(lab.nodes[2]))
    refused(lab, signed(lab, lab.owners[2], Vote(key, True)), "account")
    for at in range(3, 3 + MAX_OPEN - 1):
        submit(lab, lab.owners[at], Propose(change))
    refused(lab, signed(lab, lab.owners[19], Propose(change)), "change")
    lab.block(VOTING + 1)
    refused(lab, signed(lab, lab.owners[3], Vote(key, True)), "proposal")
    for _ in range(3):  # closed proposals are kept, but not for ever
        for at in range(3, 13):
            submit(lab, lab.owners[at], Propose(change))
        lab.block(VOTING + 1)
    assert len(proposals(lab.view)) <= 2 * MAX_OPEN
    assert sum(
        key.startswith(b"prop/") and value is not None for key, value in lab.view.changes.items()
    ) == len(proposals(lab.view))


def test_of_two_changes_that_contradict_each_other_the_second_is_void() -> None:
    lab = lab_of()
    accept(lab, ChangeEconomy((("price_low_milli", 590),)), ChangeEconomy((("price_high_milli", 500),)))
    assert [found.state for _, found in proposals(lab.view)] == [IN_FORCE, VOID]
    assert "price_low_milli" in last(lab)[1].reason
    assert lab.ctx.economy == replace(ECONOMY, price_low_milli=590)


def test_a_model_is_added_changed_and_retired_and_an_answer_is_judged_by_the_spec_of_its_draw() -> None:
    lab = lab_of()
    accept(lab, AddModel(SPEC))
    assert model_spec(lab.view, "new") == SPEC
    inference_id = lab.drawn()
    fields = (("weights_hash", "07" * 32), ("price_micro", 20), ("stacks", ("torch-gpu-bf16",)))
    submit(lab, lab.owners[0], Propose(ChangeModel("toy", fields)))
    key, _ = last(lab)
    for at in range(8):
        submit(lab, lab.owners[at], Vote(key, True))
    before = model_spec(lab.view, "toy")
    lab.block(2 * EPOCH - lab.height + 1)
    after = model_spec(lab.view, "toy")
    assert before is not None
    assert after == replace(before, weights_hash=b"\x07" * 32, price_micro=20, stacks=("torch-gpu-bf16",))
    found = claim(lab.view, inference_id)
    assert found is not None
    assert found.spec == before, "it was drawn before the change"
    assert (spec_at(lab.view, "toy", 2 * EPOCH - 1), spec_at(lab.view, "toy", 2 * EPOCH)) == (before, after)
    accept(lab, RetireModel("toy"))
    with pytest.raises(InvalidRequest, match="model 'toy' is retired; there are: new") as caught:
        lab.start()
    assert caught.value.field == "model"
    lab.decide(inference_id, lambda node: {}) if not lab.inference(inference_id).end_height else None
    assert lab.inference(inference_id).end_height > 0
