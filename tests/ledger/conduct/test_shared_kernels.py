"""Kernels that nobody shares are always checked and paid less (decision 067): rule M20."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.base.types import StackClass
from p2p.ledger.conduct import reputation
from p2p.ledger.conduct.kernels import is_shared
from p2p.ledger.money import epoch_accounts
from p2p.ledger.state.records import Reputation, Served
from tests.ledger.account_transactions import part
from tests.ledger.lab import RULES, STEADY, Lab

MINE, THEIRS = "vllm-cpu-bf16#of my own", StackClass.CPU_BF16.value
LAX = replace(RULES, min_checks=0, saving_micro=0, min_checked_tokens=10)
FEE = (20 + 10) * 10  # of the lab's answer


def known(lab: Lab, stacks: dict[int, tuple[str, ...]]) -> None:
    """Full reputation of these peers on these stacks, all of it checked enough in this epoch."""
    for peer, names in stacks.items():
        node = lab.nodes[peer]
        rows = tuple(Reputation("toy", name, 100) for name in sorted(names))
        lab.view.put_participant(replace(part(lab, node), reputations=rows))
        served = tuple(Served("toy", name, booked_before=100_000, checked_tokens=1000) for name in names)
        lab.view.put_conduct(node, replace(lab.view.conduct(node), served=served))


def majority(lab: Lab, mine: tuple[int, ...]) -> None:
    known(lab, {peer: (MINE if peer in mine else THEIRS,) for peer in range(len(lab.nodes))})


def test_alone_on_its_kernels_an_executor_is_always_checked_whatever_its_reputation() -> None:
    lab = Lab(rules=LAX)
    majority(lab, mine=(1,))
    assert reputation.check_milli(lab.ctx, lab.nodes[1], "toy", MINE) == 1000
    assert reputation.check_milli(lab.ctx, lab.nodes[2], "toy", THEIRS) == 10


@pytest.mark.parametrize(("mine", "shared"), [((1,), False), ((1, 2), False), ((1, 2, 3), True), ((1, 2, 3, 4), True)])
def test_a_quarter_of_the_others_weight_shares_kernels(mine: tuple[int, ...], shared: bool) -> None:
    lab = Lab(peers=9, rules=LAX)  # eight others: two of them are a quarter
    majority(lab, mine)
    assert is_shared(lab.ctx, lab.nodes[1], "toy", MINE) is shared
    assert reputation.check_milli(lab.ctx, lab.nodes[1], "toy", MINE) == (10 if shared else 1000)


def test_the_nodes_of_one_owner_do_not_share_with_each_other() -> None:
    """Sybils: one owner's nodes under one name of kernels are as alone as one of them."""
    lab = Lab(peers=9, rules=LAX, owners={2: 1, 3: 1, 4: 1, 5: 1})
    majority(lab, mine=(1, 2, 3, 4, 5))
    assert not is_shared(lab.ctx, lab.nodes[1], "toy", MINE)
    assert is_shared(lab.ctx, lab.nodes[6], "toy", THEIRS)


def test_a_name_that_nobody_was_checked_under_is_not_shared() -> None:
    """That others name it too proves nothing: only reputation, earned by checked answers, counts."""
    lab = Lab(peers=9, rules=LAX)
    majority(lab, mine=())
    for peer in (1, 2, 3, 4):
        row = Served("toy", MINE, booked=50, booked_before=50)
        lab.view.put_conduct(lab.nodes[peer], replace(lab.view.conduct(lab.nodes[peer]), served=(row,)))
    assert not is_shared(lab.ctx, lab.nodes[1], "toy", MINE)


def test_while_nobody_is_known_all_kernels_are_alike() -> None:
    lab = Lab(rules=LAX)
    assert is_shared(lab.ctx, lab.nodes[1], "toy", MINE)
    known(lab, {1: (MINE,)})
    assert is_shared(lab.ctx, lab.nodes[1], "toy", MINE), "its own word is no other's"
    known(lab, {2: (THEIRS,)})
    assert not is_shared(lab.ctx, lab.nodes[1], "toy", MINE)


@pytest.mark.parametrize("pay", [0, 500, 1000])
def test_a_part_of_the_fee_is_not_paid_and_burnt(pay: int) -> None:
    rules = replace(STEADY, unshared_pay_milli=pay, emission_cap_milli=100)
    paid = {}
    for stack in (THEIRS, MINE):
        lab = Lab(epoch_blocks=60, economy=rules)
        majority(lab, mine=())
        node = lab.nodes[1]
        signed = lab.start()
        while node not in lab.inference(signed.inference_id).candidates:
            signed = lab.start()
        lab.finish(signed.inference_id, node, stack=stack)
        lab.block(2)
        lab.decide(signed.inference_id, lambda _: {})
        lab.block(61 - lab.height)  # each block checks that no money is lost or made
        row = epoch_accounts.earning(lab.view, 0, node)
        assert row is not None
        assert row.fees_micro == FEE
        paid[stack] = row
    full, less = paid[THEIRS], paid[MINE]
    assert full.unshared_micro == 0 < full.paid_micro
    assert less.unshared_micro == FEE * (1000 - pay) // 1000
    assert less.paid_micro == full.paid_micro * pay // 1000
    assert less.reward_micro <= (FEE - less.unshared_micro) // 10, "nothing is minted for what is not paid"
    assert less.forfeited_micro == 0


def test_a_vote_can_switch_it_off() -> None:
    lab = Lab(rules=replace(LAX, shared_kernels_milli=0))
    majority(lab, mine=(1,))
    assert is_shared(lab.ctx, lab.nodes[1], "toy", MINE)
    assert reputation.check_milli(lab.ctx, lab.nodes[1], "toy", MINE) == 10
