"""The sprint's records: the questions follow from the beacon, refused records change nothing, and no money moves.
Weights: test_weights.py."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.base.keys import digest
from p2p.base.serving_limits import MAX_SPRINT_ANSWERS
from p2p.base.types import SPRINT_ACCOUNT, Record, RecordKind, SprintCommit, SprintOpen
from p2p.chain.views.earnings import earnings_answer
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.requests import check_request
from p2p.ledger.participants.sprint import Sprint, question
from p2p.ledger.participants.sprint_prompts import WORDS, sprint_prompt
from tests.ledger.account_transactions import part
from tests.ledger.lab import Lab, reputations
from tests.ledger.sprint_lab import EPOCH, RULES, TOKENS, UNCAPPED, SprintLab, commitment, opened, refused

FULL = 10**9


# -- prompts and ids ----------------------------------------------------------------------------------------------


def test_the_questions_are_golden() -> None:
    """A changed word would fork the chain."""
    assert digest(
        *(word.encode() for word in WORDS)
    ).hex() == "070bc5c3274c821357bbf868cf47015a05679f0e0fbd16dae7a64e353b0fbf3a"
    assert sprint_prompt(b"\x01" * 32, b"\x02" * 32, "toy", 0) == (
        "Write a long story in which all of these occur: banner, log, flood, hammer, cotton, flame, "
        "brick, circus, night, parrot, river, jewel, rain, kettle, prince, fish."
    )
    genesis = replace(Lab(4).genesis, sprint=RULES, epoch_blocks=40)
    genesis.__dict__["network"] = "n"  # fixed here: another default in the genesis file does not change the questions
    body, signed = question(genesis, Sprint(3, b"\x01" * 32), b"\x02" * 32, "toy", 7)
    assert body == one_message(
        "Write a long story in which all of these occur: journey, dolphin, button, banner, cattle, drum, "
        "candle, clock, brush, ocean, mist, duck, jewel, maple, dance, island."
    )
    assert signed.inference_id.hex() == "c4aa6e21bdd4e356e9cafd575fc6caa45dd464ce8be00b0edac4d179f143aab5"


def test_the_id_binds_epoch_beacon_node_model_and_number() -> None:
    genesis = replace(Lab(4).genesis, sprint=RULES, epoch_blocks=EPOCH)
    base: tuple[Any, ...] = (Sprint(3, b"\x01" * 32), b"\x02" * 32, "toy", 7)
    others = [(0, Sprint(4, b"\x01" * 32)), (0, Sprint(3, b"\x03" * 32)), (1, b"\x04" * 32), (2, "other"), (3, 8)]
    ids = {question(genesis, *base)[1].inference_id}
    for place, value in others:
        ids.add(question(genesis, *(value if at == place else one for at, one in enumerate(base)))[1].inference_id)
    assert len(ids) == 6


def test_no_two_questions_are_the_same() -> None:
    asked = {
        sprint_prompt(bytes([beacon]) * 32, bytes([node]) * 32, "toy", at)
        for beacon in range(3)
        for node in range(3)
        for at in range(500)
    }
    assert len(asked) == 4500


def test_no_client_can_use_the_sprints_account() -> None:
    lab = SprintLab()
    lab.to_commit()
    _, signed = question(lab.genesis, lab.sprint, lab.nodes[0], "toy", 0)
    with pytest.raises(InvalidRequest) as caught:
        check_request(lab.ctx, signed)
    assert caught.value.field == "account"


# -- a whole life -------------------------------------------------------------------------------------------------


def test_weights_are_those_of_checked_answers_and_the_next_set_follows() -> None:
    lab = SprintLab()
    fast, slow, short, absent = lab.nodes[:4]
    lab.to_commit()
    for node, count, tokens in ((fast, 60, 10), (slow, 20, 10), (short, 60, 3)):
        lab.answer_and_commit(node, count, tokens)
    lab.to_open()
    ids = [one for node in (fast, slow, short) for one in lab.open(node)]
    assert len(ids) == 9
    lab.judge(ids)
    assert {lab.status(one) for one in ids} == {"VALIDATED"}
    lab.to(EPOCH)
    assert lab.weight(fast) == 10, "until the next epoch"
    assert dict(lab.set(b"next")) == {fast: 60, slow: 20, short: 18, **dict.fromkeys(lab.nodes[3:], 5)}, (
        "two heights before the epoch ends"
    )
    lab.to_next_epoch()
    assert dict(lab.set()) == {node: lab.weight(node) for node in lab.nodes}
    assert (lab.weight(fast), lab.weight(slow), lab.weight(short), lab.weight(absent)) == (60, 20, 18, 5)
    lab.to_commit()
    assert lab.view.ids(b"runs") == [], "the next sprint begins with nothing"
    assert all(lab.view.get(b"run/" + node + b"toy") is None for node in lab.nodes)


def test_no_money_moves_and_no_client_is_told() -> None:
    lab = SprintLab()
    before = lab.view.totals()
    ids = opened(lab, {lab.nodes[0]: 9, lab.nodes[1]: 9})
    lab.judge([one for some in ids.values() for one in some], lambda one: one in ids[lab.nodes[0]])
    lab.to_next_epoch()
    assert lab.view.totals() == before
    assert lab.view.get(b"acct/" + SPRINT_ACCOUNT) is None
    assert lab.view.get(b"note/" + SPRINT_ACCOUNT) is None
    assert all(lab.view.account(owner.public).balance_micro == FULL for owner in lab.owners)
    record = earnings.earning(lab.view, 0, lab.nodes[0])
    assert record is not None
    assert (record.work, record.fees_micro, record.inferences, record.ended) == (0, 0, 0, 3)
    rows = earnings_answer(lab.ctx, 0, lab.nodes[0], 0).inferences
    assert {(row.what, row.rule) for row in rows} == {("sprint", "S")}


def test_checks_count_as_in_other_inferences_and_pairs_of_records_do_not() -> None:
    lab = SprintLab(epoch_blocks=400)
    node = lab.nodes[0]
    lab.judge(opened(lab, {node: 9})[node])
    seen = lab.view.conduct(node)
    assert (seen.checked, seen.checked_tokens, seen.struck, seen.paired) == (3, 3 * TOKENS, 0, 0)
    assert sum(lab.view.conduct(one).duties for one in lab.nodes) == 9


def test_a_high_reputation_does_not_spare_the_check() -> None:
    lab = SprintLab(rules=replace(Lab(1).genesis.checks, min_checked_tokens=0, min_checks=0, saving_micro=0))
    lab.view.put_participant(replace(part(lab, lab.nodes[0]), reputations=reputations(100)))
    ids = opened(lab, {lab.nodes[0]: 500})[lab.nodes[0]]
    lab.block(2)
    assert {lab.status(one) for one in ids} == {"VALIDATING"}


def test_answers_of_the_sprint_are_pruned_like_others() -> None:
    lab = SprintLab()
    ids = opened(lab, {lab.nodes[0]: 9})[lab.nodes[0]]
    lab.judge(ids)
    lab.to(EPOCH * 4)
    assert all(lab.view.inference(one) is None for one in ids)


def test_where_there_is_no_sprint_nothing_of_it_is_kept() -> None:
    lab = Lab(4, epoch_blocks=5)
    lab.block(12)
    assert not {key for key in lab.view.changes if key.startswith((b"sprint", b"run", b"weights"))}
    with pytest.raises(InvalidRequest):
        lab.put(lab.nodes[0], RecordKind.SPRINT_COMMIT, SprintCommit(lab.nodes[0], 2, "toy", bytes(32), 1))


# -- what is refused ----------------------------------------------------------------------------------------------


def test_commitments_that_are_refused() -> None:
    lab = SprintLab()
    node = lab.nodes[0]
    lab.to(lab.times.first)
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node), "epoch")
    lab.to_commit()
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[1]), "node")
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node, epoch=1), "epoch")
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node, model="other"), "model")
    for count in (0, MAX_SPRINT_ANSWERS + 1):
        refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node, count=count), "$[4]")
    lab.answer_and_commit(node, 5)
    refused(lab, node, RecordKind.SPRINT_COMMIT, commitment(lab, node), "model")
    lab.to(lab.times.close)
    lab.answer_and_commit(lab.nodes[1], 5)
    lab.block()
    refused(lab, lab.nodes[2], RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[2]), "epoch")


@pytest.mark.parametrize(("change", "field"), [
    ({"models": ()}, "model"), ({"convicted_until": 99}, "node"), ({"suspended_until": 99}, "node"),
    ({"leaving": 99}, "node"),
])
def test_a_node_that_may_not_serve_may_not_take_part(change: dict[str, Any], field: str) -> None:
    lab = SprintLab()
    lab.to_commit()
    lab.view.put_participant(replace(part(lab, lab.nodes[0]), **change))
    refused(lab, lab.nodes[0], RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[0]), field)


def test_without_the_collateral_nobody_takes_part() -> None:
    lab = SprintLab(economy=replace(UNCAPPED, collateral_min_micro=5))
    lab.to_commit()
    refused(lab, lab.nodes[0], RecordKind.SPRINT_COMMIT, commitment(lab, lab.nodes[0]), "collateral_micro")


def test_openings_that_are_refused() -> None:
    lab = SprintLab()
    node, other = lab.nodes[:2]
    lab.to_commit()
    lab.answer_and_commit(node, 40)
    lab.to(lab.times.draw)
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, 0), "epoch")
    lab.to_open()
    first, second, third = lab.drawn_of(node)
    good = lab.opening(node, first)
    free = next(at for at in range(40) if at not in (first, second, third))
    refused(lab, other, RecordKind.SPRINT_OPEN, good, "model")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, free), "index")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, epoch=1), "epoch")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, proof=good.proof[:-1]), "proof")
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, proof=lab.opening(node, second).proof), "proof")
    refused(
        lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=lab.finish_of(node, second)), "inference_id"
    )
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=lab.finish_of(node, first, 11)), "proof")
    for fault, field in ({"output_tokens": 0}, "output_tokens"), ({"output_tokens": 21}, "output_tokens"), (
        {"prompt_tokens": 600}, "prompt_tokens"
    ):
        refused(
            lab,
            node,
            RecordKind.SPRINT_OPEN,
            lab.opening(node, first, finish=lab.finish_of(node, first, **fault)),
            field,
        )
    stolen = replace(good.finish, record=replace(good.finish.record, executor=other))
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, first, finish=stolen), "executor")
    refused(
        lab,
        node,
        RecordKind.SPRINT_OPEN,
        lab.opening(node, first, finish=replace(good.finish, signature=bytes(64))),
        "signature",
    )
    lab.open(node, [first])
    refused(lab, node, RecordKind.SPRINT_OPEN, good, "index")
    lab.to(lab.times.end)
    lab.open(node, [second])
    lab.block()
    refused(lab, node, RecordKind.SPRINT_OPEN, lab.opening(node, third), "epoch")


def test_the_largest_opening_fits_a_record() -> None:
    """A commitment to 65,536 answers: its proof has 16 hashes."""
    lab = SprintLab()
    lab.to_commit()
    finish = lab.finish_of(lab.nodes[0], MAX_SPRINT_ANSWERS - 1)
    body = encode(SprintOpen(2**40, "m" * 96, MAX_SPRINT_ANSWERS - 1, finish, (bytes(32),) * 17))
    assert len(body) < 1024
    Record(RecordKind.SPRINT_OPEN, body)


def test_an_answer_of_the_sprint_accepts_no_start_output_or_busy() -> None:
    lab = SprintLab()
    node = lab.nodes[0]
    one = opened(lab, {node: 9})[node][0]
    finish = lab.inference(one).finish
    refused(lab, node, RecordKind.FINISH, finish, "inference_id")
    with pytest.raises(FolkmootError):
        lab.output(one)
    with pytest.raises(FolkmootError):
        lab.show(one, node)
