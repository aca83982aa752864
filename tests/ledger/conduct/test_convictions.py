"""How long a convicted executor is excluded: twice as long each time. Only clean work makes a conviction forgotten;
leaving, another key or another node does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.genesis import CheckRules, EconomyRules
from p2p.base.keys import Key
from p2p.base.types import RecordKind
from p2p.chain.views.conduct import verification_answer
from p2p.ledger.conduct.convictions import after_epoch, convict, convicted_this_epoch
from p2p.ledger.participants.eligibility import checking, serving
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import Deposit, Unregister
from p2p.ledger.state.records import Participant
from tests.ledger.account_transactions import part, registration, rotation, signed, submit
from tests.ledger.lab import RULES, STEADY, Lab
from tests.ledger.money.test_money import put_collateral

EPOCH, BOUND, CLEAN = 20, 4, 2
EXCLUDES = replace(RULES, exclusion_max_epochs=BOUND, exclusion_clean_epochs=CLEAN, min_checked_tokens=10)
NUMBER = 1
NEW = Key(b"\xee" * 32)


def lab_of(**change: Any) -> Lab:
    return Lab(**{"epoch_blocks": EPOCH, "rules": EXCLUDES, "economy": replace(STEADY, withdraw_wait=3), **change})


def convicted(lab: Lab, times: int = 1, node: bytes | None = None) -> None:
    """Convict the node several times with the function that the sequential test calls, each time after the last
    exclusion ended."""
    for _ in range(times):
        found = part(lab, node or lab.nodes[NUMBER])
        if found.convicted_until:
            lab.block(found.convicted_until + 1 - lab.height)
        convict(lab.ctx, part(lab, node or lab.nodes[NUMBER]), "it cheated")


def to_epochs_end(lab: Lab) -> None:
    lab.block((-lab.height) % EPOCH + 1)


def clean_epoch(lab: Lab, *, valid: bool = True) -> None:
    lab.decide(lab.drawn(executor=lab.nodes[NUMBER]), lambda _: {"valid": valid})
    to_epochs_end(lab)


def test_each_conviction_excludes_for_twice_as_long_up_to_the_bound() -> None:
    lab = lab_of()
    for count, epochs in enumerate((1, 2, 4, 4, 4), 1):
        convicted(lab)
        began = lab.height
        found = part(lab, lab.nodes[NUMBER])
        assert (found.convictions, found.convicted_at, found.reputation) == (count, began, 0)
        assert found.convicted_until == ((began - 1) // EPOCH + 1 + epochs) * EPOCH
        lab.block(found.convicted_until - lab.height)
        assert lab.nodes[NUMBER] not in dict(serving(lab.ctx, "toy"))
        assert lab.nodes[NUMBER] not in dict(checking(lab.ctx, "toy"))
        lab.block()
        assert lab.nodes[NUMBER] in dict(serving(lab.ctx, "toy"))
        assert part(lab, lab.nodes[NUMBER]).reputation == 0, "all its answers are checked"


def test_a_long_exclusion_is_paid_for_once() -> None:
    lab = lab_of()
    put_collateral(lab, lab.nodes[NUMBER], 10_000)
    convicted(lab, 3)
    before = lab.view.totals().collateral_micro
    to_epochs_end(lab)
    once = lab.view.totals().collateral_micro
    assert once < before
    lab.block(EPOCH * BOUND)
    assert lab.view.totals().collateral_micro == once


def test_each_conviction_by_the_sequential_test_doubles_the_exclusion() -> None:
    lab = lab_of(epoch_blocks=60)
    for count in (1, 2):
        while part(lab, lab.nodes[NUMBER]).convictions < count:
            lab.decide(lab.drawn(executor=lab.nodes[NUMBER]), lambda _: {"valid": False})
        found = part(lab, lab.nodes[NUMBER])
        assert found.convicted_until == ((lab.height - 2) // 60 + 1 + count) * 60
        lab.block(found.convicted_until + 1 - lab.height)


def test_clean_epochs_make_a_conviction_forgotten() -> None:
    lab = lab_of()
    convicted(lab, 2)
    lab.block(part(lab, lab.nodes[NUMBER]).convicted_until + 1 - lab.height)
    found = []
    for _ in range(2 * CLEAN + 1):
        clean_epoch(lab)
        now = part(lab, lab.nodes[NUMBER])
        found.append((now.convictions, now.clean_epochs))
    assert found == [(2, 1), (1, 0), (1, 1), (0, 0), (0, 0)]


def test_idle_epochs_make_no_conviction_forgotten_and_a_strike_restarts_the_count() -> None:
    lab = lab_of()
    convicted(lab)
    lab.block(part(lab, lab.nodes[NUMBER]).convicted_until + 1 - lab.height)
    clean_epoch(lab)
    lab.block(5 * EPOCH)
    assert (part(lab, lab.nodes[NUMBER]).convictions, part(lab, lab.nodes[NUMBER]).clean_epochs) == (1, 1)
    clean_epoch(lab, valid=False)
    assert (part(lab, lab.nodes[NUMBER]).convictions, part(lab, lab.nodes[NUMBER]).clean_epochs) == (1, 0)


@given(st.lists(st.sampled_from(["clean", "idle", "struck"]), max_size=60), st.integers(0, 5))
def test_never_forgotten_faster_than_the_rules_say(epochs: list[str], convictions: int) -> None:
    found = Participant(bytes(32), bytes(32), 1, (), convictions=convictions)
    for what in epochs:
        found = after_epoch(found, EXCLUDES, clean=what == "clean", struck=what == "struck")
    assert convictions - found.convictions <= epochs.count("clean") // CLEAN
    assert 0 <= found.convictions <= convictions
    assert found.clean_epochs < CLEAN


# -- leaving does not help ---------------------------------------------------------------------------------------------


def left(lab: Lab, node: bytes) -> None:
    number = lab.nodes.index(node) if node in lab.nodes else NUMBER
    submit(lab, lab.owners[number], Unregister(node))
    while lab.view.participant(node) is not None:
        lab.block()


@pytest.mark.parametrize(
    ("owner", "node"), [(NUMBER, NUMBER), (NUMBER, None), (2, NUMBER)], ids=["both", "another key", "another owner"]
)
def test_a_node_that_registers_again_is_still_excluded(owner: int, node: int | None) -> None:
    lab = lab_of()
    convicted(lab, 3)
    before = part(lab, lab.nodes[NUMBER])
    left(lab, before.node)
    assert lab.height < before.convicted_until
    key = NEW if node is None else lab.keys[node]
    submit(lab, lab.owners[owner], registration(lab, lab.owners[owner], key))
    found = part(lab, key.public)
    assert (
        found.convictions, found.convicted_until, found.convicted_reason
    ) == (3, before.convicted_until, "it cheated")
    assert not convicted_this_epoch(lab.ctx, found), "it has paid"
    lab.block(found.convicted_until + 1 - lab.height)
    assert part(lab, key.public).convicted_until == 0
    convicted(lab, node=key.public)
    assert part(lab, key.public).convictions == 4


def test_another_node_beside_the_excluded_one_is_excluded_with_it_and_the_owners_other_nodes_are_not() -> None:
    lab = lab_of(owners={2: NUMBER})
    convicted(lab, 2)
    submit(lab, lab.owners[NUMBER], registration(lab, lab.owners[NUMBER], NEW))
    assert part(lab, NEW.public).convicted_until == part(lab, lab.nodes[NUMBER]).convicted_until > 0
    assert part(lab, lab.nodes[2]).convicted_until == 0


def test_an_exclusion_that_is_over_is_not_inherited_but_its_convictions_count() -> None:
    lab = lab_of()
    convicted(lab)
    until = part(lab, lab.nodes[NUMBER]).convicted_until
    left(lab, lab.nodes[NUMBER])
    lab.block(until + 1 - lab.height)
    submit(lab, lab.owners[NUMBER], registration(lab, lab.owners[NUMBER], NEW))
    found = part(lab, NEW.public)
    assert (found.convicted_until, found.convictions) == (0, 1)
    left(lab, NEW.public)
    submit(lab, lab.owners[NUMBER], registration(lab, lab.owners[NUMBER], lab.keys[NUMBER]))
    assert part(lab, lab.nodes[NUMBER]).convictions == 1, "and the next conviction doubles it"


def test_a_clean_node_that_leaves_does_not_hide_a_convicted_one() -> None:
    lab = lab_of(owners={2: NUMBER})
    convicted(lab, 2)
    left(lab, lab.nodes[NUMBER])
    left(lab, lab.nodes[2])
    submit(lab, lab.owners[NUMBER], registration(lab, lab.owners[NUMBER], NEW))
    assert part(lab, NEW.public).convictions == 2


def test_a_rotated_key_stays_excluded() -> None:
    lab = lab_of()
    convicted(lab)
    submit(lab, lab.owners[NUMBER], rotation(lab, lab.owners[NUMBER], lab.keys[NUMBER], NEW))
    assert part(lab, NEW.public).convicted_until > 0
    assert part(lab, NEW.public).convictions == 1


def test_a_node_without_convictions_leaves_nothing_behind() -> None:
    lab = lab_of()
    left(lab, lab.nodes[NUMBER])
    assert not [key for key, value in lab.view.changes.items() if key.startswith(b"past/") and value is not None]


# -- what people see ---------------------------------------------------------------------------------------------------


def excluded(lab: Lab, node: bytes) -> str:
    rows = verification_answer(lab.ctx).participants
    return next(row.excluded for row in rows if row.node == node.hex())


def test_the_view_says_until_when_and_why() -> None:
    lab = lab_of()
    assert excluded(lab, lab.nodes[NUMBER]) == ""
    convicted(lab)
    until = part(lab, lab.nodes[NUMBER]).convicted_until
    said = f"excluded until height {until}, because it cheated; returns with reputation 0"
    assert excluded(lab, lab.nodes[NUMBER]) == said


def test_collateral_below_the_minimum_keeps_it_out_until_a_deposit() -> None:
    lab = lab_of(economy=replace(STEADY, collateral_min_micro=1000))
    node = lab.nodes[NUMBER]
    put_collateral(lab, node, 400)
    assert excluded(lab, node) == "excluded until 600 micro-credits are deposited, because its collateral is below 1000"
    assert node not in dict(serving(lab.ctx, "toy"))
    lab.put(lab.nodes[0], RecordKind.OP, signed(lab, lab.owners[NUMBER], Deposit(node, 600)))
    assert excluded(lab, node) == ""
    assert node in dict(serving(lab.ctx, "toy"))


def test_the_bound_fits_a_height() -> None:
    """The longest exclusion of the longest epochs, from a very high height on, fits into 64 bits."""
    lab = Lab(rules=CheckRules(exclusion_max_epochs=1_000_000), epoch_blocks=2**32 - 1, economy=EconomyRules())
    lab.view.put_participant(replace(part(lab, lab.nodes[NUMBER]), convictions=2**32 - 2))
    convict(Context(lab.view, lab.genesis, 2**40), part(lab, lab.nodes[NUMBER]), "because")
    assert part(lab, lab.nodes[NUMBER]).convicted_until < 2**63
    lab.view.get(b"part/" + lab.nodes[NUMBER])
