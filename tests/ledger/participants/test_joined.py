"""Account transactions that change who is paid, and what: keys that are rotated, nodes that leave, prices that are
voted on."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.genesis import ModelSpec
from p2p.base.keys import Key
from p2p.chain.views.earnings import earnings_answer
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.collateral import at_stake
from p2p.ledger.money.price import price_of
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.rules.ops import ChangeModel, Deposit, RetireModel, Unregister, Withdraw
from p2p.ledger.state.records import Conduct
from tests.ledger.account_transactions import (
    ECONOMY,
    WAIT,
    balance,
    lab_of,
    part,
    refused,
    registration,
    rotation,
    signed,
    submit,
)
from tests.ledger.lab import CLIENT, PRICE, PROMPT, RULES, STEADY, Lab
from tests.ledger.money.test_epoch_settlement import convict, to_end
from tests.ledger.test_governance import accept

NEW, FULL = Key(b"\x7a" * 32), 10**9
SHARE = (PROMPT + 10) * PRICE * 850 // 1000  # of one fee, less the validators' part and the burnt part


def rotate(lab: Lab, number: int) -> None:
    submit(lab, lab.owners[number], rotation(lab, lab.owners[number], lab.keys[number], NEW))
    lab.by_node[NEW.public] = NEW
    lab.block()  # from here on draws know it


def test_fees_and_work_of_a_rotated_key_go_to_its_successor() -> None:
    lab = lab_of(epoch_blocks=60)
    lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    rotate(lab, 1)
    lab.decide(lab.drawn(executor=NEW.public), lambda node: {})
    found = to_end(lab)
    assert found.minted_micro == ECONOMY.emission_micro
    assert balance(
        lab, lab.owners[1].public
    ) == FULL + 2 * SHARE + ECONOMY.emission_micro - ECONOMY.registration_fee_micro


def test_a_cheat_that_changes_its_key_forfeits_all_and_is_slashed_once() -> None:
    lab = lab_of(epoch_blocks=100)
    submit(lab, lab.owners[1], Deposit(lab.nodes[1], 1000))
    lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    rotate(lab, 1)
    lab.decide(lab.drawn(executor=NEW.public), lambda node: {})
    convict(lab, NEW.public)
    found = to_end(lab)
    assert (found.slashed_micro, found.forfeited_micro, found.paid_micro) == (200, 600, 0)
    assert balance(lab, lab.owners[1].public) == FULL - 1000 - ECONOMY.registration_fee_micro
    assert at_stake(part(lab, NEW.public)) == 800


def test_a_rotated_key_is_the_same_partner() -> None:
    """Else an agent could have an honest executor suspended by rotating its key again and again."""
    lab = lab_of(epoch_blocks=1000)
    executor, before = lab.nodes[2], Conduct()
    for turn in range(2):
        agent = lab.nodes[1] if turn == 0 else NEW.public
        for _ in range(30):
            at = 1 if turn == 0 else len(lab.nodes) - 1
            signed = lab.start(agent=at)
            if executor in lab.inference(signed.inference_id).candidates:
                lab.finish(signed.inference_id, executor, output=False)
                lab.output(signed.inference_id, output_hash=b"\x09" * 32)
        lab.block(3)
        seen = lab.view.conduct(executor)
        assert len(seen.partners) == 1, agent
        assert seen.differ >= before.differ > 0 or turn == 0
        before = seen
        if turn == 0:
            rotate(lab, 1)
            lab.nodes.append(NEW.public)
            first = seen.differ
    assert before.differ == first, "both keys together count as one partner"


def test_a_convicted_node_gets_no_collateral_back_before_the_epoch_ends() -> None:
    lab = lab_of(epoch_blocks=100)
    cheat, owner = lab.nodes[1], lab.owners[1]
    submit(lab, owner, Deposit(cheat, 1000))
    convict(lab, cheat)
    submit(lab, owner, Withdraw(cheat, 400))
    submit(lab, owner, Unregister(cheat))
    assert lab.height + WAIT < 99
    lab.block(99 - lab.height)
    assert at_stake(part(lab, cheat)) == 1000
    assert balance(lab, owner.public) == FULL - 1000
    assert to_end(lab).slashed_micro == 200
    lab.block(2)
    assert lab.view.participant(cheat) is None
    assert balance(lab, owner.public) == FULL - 200
    assert lab.view.totals().collateral_micro == 0


def test_a_vote_changes_the_current_price_and_a_retired_model_keeps_no_use() -> None:
    lab = lab_of(epoch_blocks=20)
    accept(lab, ChangeModel("toy", (("price_micro", 3 * PRICE),)))
    assert price_of(lab.view, replace(lab.genesis.models[0], price_micro=3 * PRICE)) == 3 * PRICE
    assert lab.inference(lab.start().inference_id).price_micro == 3 * PRICE
    lab.decide(lab.drawn(), lambda node: {})
    accept(lab, RetireModel("toy"))
    lab.block(2 * ECONOMY.price_window)
    assert not [key for key, value in lab.view.changes.items() if key.startswith(b"use/") and value is not None]


def test_a_node_with_a_price_floor_is_drawn_by_the_current_price() -> None:
    lab = lab_of(epoch_blocks=20)
    submit(lab, lab.owners[1], registration(lab, lab.owners[1], lab.keys[1], floor=PRICE + 1))
    assert lab.nodes[1] not in dict(serving(lab.ctx, "toy"))
    accept(lab, ChangeModel("toy", (("price_micro", PRICE + 1),)))
    assert lab.nodes[1] in dict(serving(lab.ctx, "toy"))


def test_work_is_weighed_by_the_models_cost() -> None:
    lab = lab_of(epoch_blocks=20, rules=RULES)
    accept(lab, ChangeModel("toy", (("cost_milli", 2500),)))
    executor = lab.drawn(executor=lab.nodes[1], account=CLIENT)
    lab.decide(executor, lambda node: {})
    found = earnings.earning(lab.view, (lab.height - 2) // 20, lab.nodes[1])
    assert found is not None
    assert found.work == (PROMPT + 10) * 2500


def test_a_statement_shows_what_was_earned_under_all_keys_whichever_is_named() -> None:
    lab = lab_of(epoch_blocks=60)
    first = lab.drawn(executor=lab.nodes[1])
    lab.decide(first, lambda node: {})
    rotate(lab, 1)
    second = lab.drawn(executor=NEW.public)
    lab.decide(second, lambda node: {})
    to_end(lab)
    told = earnings_answer(lab.ctx, 0, NEW.public, 0)
    assert [row.id for row in told.inferences] == [first.hex(), second.hex()]
    assert (told.own.fees_micro, told.next) == (2 * (PROMPT + 10) * PRICE, -1)
    assert earnings_answer(lab.ctx, 0, NEW.public, 1).inferences == told.inferences[1:]
    assert earnings_answer(lab.ctx, 0, lab.nodes[1], 0).inferences == told.inferences
    assert earnings_answer(lab.ctx, 0, lab.nodes[2], 0).own.fees_micro == 0


def test_a_node_is_not_drawn_on_stacks_that_the_model_does_not_allow() -> None:
    lab, fresh = lab_of(
        models=(ModelSpec("toy", bytes(32), bytes(32), "bfloat16", PRICE, 1, 2048, stacks=("vllm-cpu-bf16",)),)
    ), Key(b"\x7c" * 32)
    lab.block()
    offer = registration(lab, CLIENT, fresh)
    refused(lab, signed(lab, CLIENT, replace(offer, stacks=("torch-gpu-bf16",))), "stacks")
    submit(lab, CLIENT, replace(offer, stacks=("torch-gpu-bf16", "vllm-cpu-bf16")))
    assert part(lab, fresh.public).models == ("toy",)


def test_of_a_validator_that_left_no_counters_are_kept() -> None:
    """It leaves while it is on a committee, which then closes without it."""
    lab = Lab(economy=replace(STEADY, withdraw_wait=1))
    inference_id = lab.drawn(executor=lab.nodes[1])
    gone, *others = lab.members(inference_id)
    submit(lab, lab.owners[lab.nodes.index(gone)], Unregister(gone))
    lab.say([lab.verdict(inference_id, node) for node in others])
    lab.until(inference_id, lambda found: found.end_height > 0)
    assert lab.view.participant(gone) is None
    assert lab.view.get(b"stand/" + gone) is None
    assert lab.view.conduct(others[0]).duties == 1
