"""A dispute and its appeal fit into an epoch, and a sprint's disputes are decided before its weights are counted. This
is checked for every genesis file and for every vote on a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import ConfigError
from p2p.base.genesis import CheckRules, SprintRules
from p2p.base.types import VERSION
from p2p.ledger.genesis import check_genesis
from p2p.ledger.governance import IN_FORCE, VOID, proposals
from p2p.ledger.rules import windows
from p2p.ledger.rules.ops import Appeal, ChangeChecks, Propose
from p2p.peer.config import make_config
from p2p.peer.node import run_node
from testnet.generate import SHORT_EPOCH, SHORT_SPRINT, SHORT_WINDOW, Plan
from tests.ledger import lab as labs
from tests.ledger.account_transactions import lab_of, refused, signed, submit
from tests.ledger.inferences.test_appeals import APPEALS
from tests.ledger.lab import Lab
from tests.ledger.sprint_lab import SprintLab
from tests.ledger.test_governance import accept

SLOW = CheckRules(reveal_window=20, appeal_window=20)
FIRST = replace(Lab(1).genesis, version=VERSION)
FITS = replace(FIRST, checks=SLOW, validation_window=60, epoch_blocks=182)  # 80 + 20 + 1 + 80, and one more


def test_the_defaults_and_the_test_networks_fit() -> None:
    plan = Plan(Path(), 1)
    first = replace(FIRST, sprint=SprintRules(), checks=CheckRules(), epoch_blocks=200, validation_window=60)
    check_genesis(first)
    check_genesis(replace(first, epoch_blocks=plan.epoch_blocks, validation_window=plan.validation_window))
    check_genesis(replace(first, epoch_blocks=SHORT_EPOCH, validation_window=SHORT_WINDOW, sprint=SHORT_SPRINT))


@pytest.mark.parametrize("change", [
    {"epoch_blocks": 181}, {"validation_window": 61}, {"validation_delay": 2},
    {"checks": replace(SLOW, reveal_window=21)},
    {"checks": replace(SLOW, appeal_window=21)}, {"checks": replace(SLOW, appeal_window=0), "epoch_blocks": 80},
], ids=str)
def test_a_genesis_whose_disputes_do_not_fit_into_an_epoch_is_refused(change: dict[str, Any]) -> None:
    check_genesis(FITS)
    with pytest.raises(ConfigError) as caught:
        check_genesis(replace(FITS, **change))
    assert caught.value.field == "epoch_blocks"
    assert "shorter by " in caught.value.message


def test_without_an_appeal_only_the_disputes_committee_is_waited_for() -> None:
    check_genesis(replace(FITS, checks=replace(SLOW, appeal_window=0), epoch_blocks=81))


async def test_a_peer_refuses_to_join_such_a_network(tmp_path: Path) -> None:
    (tmp_path / "genesis.cbor").write_bytes(encode(replace(FITS, epoch_blocks=100)))
    with pytest.raises(ConfigError) as caught:
        await run_node(make_config(tmp_path, {"network": "n"}), lambda state, text: None)
    assert (caught.value.field, "shorter by 82 in all" in caught.value.message) == ("epoch_blocks", True)


def test_the_slowest_dispute_takes_as_long_as_computed() -> None:
    """In heights, from the end of the first committee's work to the last decision."""
    lab = Lab(15, rules=APPEALS, owners={12: 20})
    inference_id = lab.drawn(executor=lab.nodes[1])
    lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)])
    begun = lab.inference(inference_id).dispute_height
    slow(lab, inference_id, valid=False)
    lab.block(lab.inference(inference_id).appeal_until - lab.height)
    submit(lab, lab.owners[1], Appeal(inference_id))
    lab.block(1 + lab.genesis.validation_delay)
    slow(lab, inference_id, valid=False)
    assert lab.inference(inference_id).end_height - begun == windows.dispute(lab.genesis)


def slow(lab: Lab, inference_id: bytes, *, valid: bool, reveals: bool = True) -> None:
    """Each committee acts at its last heights and one member stays silent, so every window passes in full."""
    members = lab.members(inference_id)
    said = [lab.verdict(inference_id, node, valid=valid) for node in members[1:]]
    lab.block(lab.inference(inference_id).committees[-1].closes - lab.height)
    for verdict in said:
        lab.commit(verdict)
    lab.block()
    lab.block(lab.inference(inference_id).committees[-1].closes - lab.height)
    for verdict in said if reveals else ():
        lab.reveal(verdict)
    lab.block()


# -- votes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "named"), [
    ((("reveal_window", 15),), "reveal_window"), ((("appeal_window", 1),), "appeal_window"),
    ((("grey_milli", 1), ("appeal_window", 3), ("reveal_window", 3)), "appeal_window"),
], ids=str)
def test_a_change_whose_disputes_do_not_fit_is_not_put_to_a_vote(
    fields: tuple[tuple[str, object], ...], named: str
) -> None:
    lab = lab_of()
    refused(lab, signed(lab, lab.owners[0], Propose(ChangeChecks(fields))), named)
    submit(lab, lab.owners[0], Propose(ChangeChecks((("reveal_window", 14),))))


def test_a_change_that_does_not_fit_what_is_in_force_by_then_is_void() -> None:
    lab = lab_of()
    accept(lab, ChangeChecks((("reveal_window", 1), ("appeal_window", 2))), ChangeChecks((("reveal_window", 10),)))
    first, second = (found for _, found in proposals(lab.view))
    assert (first.state, second.state) == (IN_FORCE, VOID)
    assert "an epoch has 20" in second.reason


def test_a_change_after_which_a_sprint_would_be_counted_too_early_is_not_put_to_a_vote() -> None:
    lab = SprintLab()
    refused(lab, signed(lab, lab.owners[0], Propose(ChangeChecks((("reveal_window", 6),)))), "reveal_window")
    submit(lab, lab.owners[0], Propose(ChangeChecks((("reveal_window", 5),))))


# -- sprints -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("won", [True, False])
def test_a_last_minute_answer_is_decided_before_the_count_and_its_appeal_gives_the_weight_back(won: bool) -> None:
    """The shortest epoch that is allowed: an answer opened at the last height, a first committee that says nothing, a
    second one as slow as it may be, a dispute, and an appeal at the last height."""
    rules = replace(labs.RULES, appeal_window=6)
    with pytest.raises(ConfigError):
        SprintLab(18, epoch_blocks=57, rules=rules)
    lab = SprintLab(18, epoch_blocks=58, rules=rules)  # enough for an appeal that can outvote both committees
    node = lab.nodes[0]
    lab.to_commit()
    lab.answer_and_commit(node, 30)
    lab.to(lab.times.end)
    late, *others = lab.open(node)
    lab.block(2)
    lab.judge(others)
    slow(lab, late, valid=True, reveals=False)
    slow(lab, late, valid=False)
    slow(lab, late, valid=False)
    assert lab.status(late) == "APPEALABLE"
    lab.to(lab.inference(late).appeal_until)
    submit(lab, lab.owners[0], Appeal(late))
    lab.block(1 + lab.genesis.validation_delay)
    slow(lab, late, valid=won)
    assert lab.status(late) == ("UPHELD" if won else "INVALIDATED")
    # No height is left over: weights are counted at the end of the block before.
    assert lab.height == lab.genesis.epoch_blocks
    lab.to_next_epoch()
    assert lab.weight(node) == (30 if won else 0)
