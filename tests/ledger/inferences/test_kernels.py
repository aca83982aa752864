"""Kernels and weights, told from the revealed numbers: which validators they excuse (J4, J8), who gets half of a
dispute's committee, and whose numbers are those of other weights (J7)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.genesis import ModelSpec
from p2p.ledger.inferences.verdict_comparison import distances, excused_invalid, excused_valid
from p2p.ledger.state.records import Conduct
from p2p.verification.sequential import Detector
from tests.ledger.conduct.test_executor_conduct import OTHERS, THIRD, A, B, C, D, E, noisy, part, seen
from tests.ledger.lab import RULES, Lab, false_row, reputations, true_row
from tests.ledger.money.test_money import put_collateral

# -- J4: what only equal kernels see (decision 024) ---------------------------------------------------------------

SAW: dict[str, Any] = {"valid": False, "llr": 30_000}


@pytest.mark.parametrize(("said", "excused"), [
    ({A: (true_row, False), B: (true_row, False), C: (OTHERS, True)}, {C}),
    ({A: (true_row, False), B: (OTHERS, True), C: (THIRD, True)}, {B, C}),
    # on equal kernels: it saw the fault too
    ({A: (true_row, False), B: (true_row, False), C: (true_row, True)}, set()),
    ({A: (true_row, False), B: (OTHERS, False), C: (THIRD, True)}, set()),  # other kernels showed the fault as well
    ({A: (true_row, False), B: (OTHERS, False), C: (OTHERS, True)}, set()),
    ({A: (true_row, False), B: (true_row, False), C: (false_row, True)}, set()),  # did not run the model
    ({A: (true_row, False), B: (true_row, False), C: (noisy(501), True)}, set()),  # ran another one
    ({A: (None, False), B: (None, False), C: (OTHERS, True)}, set()),  # refused at stage 0, which needs no kernels
    ({A: (None, False), B: (true_row, False), C: (OTHERS, True)}, set()),  # half of the accusers refused so
    # in a committee without accusers there is nothing to compare
    ({A: (OTHERS, True), B: (THIRD, True), C: (true_row, True)}, set()),
])
def test_a_validator_whose_kernels_cannot_show_the_fault_is_excused(
    said: dict[bytes, tuple[Any, bool]], excused: set[bytes]
) -> None:
    verdicts = [
        seen(node, row, valid=valid, llr=-2000 if valid else 30_000, tokens=10 if row else 0) for node,
        (row, valid) in said.items()
    ]
    for order in (verdicts, verdicts[::-1]):
        assert excused_valid([order], dict.fromkeys(said, 10), frozenset(), 500) == excused


def test_numbers_are_compared_within_a_committee_and_count_for_all() -> None:
    """Committees show different ranks, so numbers are compared within one. That validators on other kernels found the
    fault in one committee counts for all of them."""
    first, second = [seen(A, **SAW), seen(B, OTHERS)], [seen(C, **SAW), seen(D, OTHERS, **SAW)]
    weights = dict.fromkeys((A, B, C, D), 10)
    assert excused_valid([first, second], weights, frozenset(), 500) == set()
    assert excused_valid([first, second[:1]], weights, frozenset(), 500) == {B}
    assert excused_valid([first, second], {**weights, D: 0}, frozenset(), 500) == {B}, "a barred one is not counted"
    assert excused_valid([first, second], weights, frozenset({D}), 500) == {B}, "nor does an outlier"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["seer", "other", "third", "lazy", "liar"]), st.integers(1, 30)),
        min_size=2,
        max_size=9,
    )
)
def test_in_any_committee_only_validators_on_other_kernels_are_excused(members: list[tuple[str, int]]) -> None:
    rows = {"seer": true_row, "other": OTHERS, "third": THIRD, "lazy": false_row, "liar": true_row}
    nodes = [bytes([i + 1]) * 32 for i in range(len(members))]
    verdicts = [
        seen(node, rows[kind], **(SAW if kind == "seer" else {})) for node,
        (kind, _) in zip(nodes, members, strict=True)
    ]
    weights = {node: weight for node, (_, weight) in zip(nodes, members, strict=True)}
    found = excused_valid([verdicts], weights, frozenset(), 500)
    kinds = {node: kind for node, (kind, _) in zip(nodes, members, strict=True)}
    honest_others = {node for node, kind in kinds.items() if kind in ("other", "third")}
    assert found == (honest_others if "seer" in kinds.values() else set())


@pytest.mark.parametrize(("conduct", "barred"), [
    ({"row": OTHERS}, False), ({"row": false_row}, True), ({"row": true_row}, True),
])
def test_an_epoch_full_of_cheats_that_only_equal_kernels_show(conduct: dict[str, Any], barred: bool) -> None:
    """The last of eight says 'valid' to everything: honest on other kernels, lazy on a stack that it only names, or
    lying on the accusers' kernels."""
    lab = Lab(rules=replace(RULES, conviction_milli=10**9))
    odd_one = lab.nodes[7]
    for _ in range(20):
        lab.decide(
            lab.drawn(executor=lab.nodes[1]),
            lambda node: conduct if node == odd_one else {"valid": False, "llr": 30_000},
        )
    assert lab.view.conduct(odd_one).compared >= 4
    assert bool(part(lab, odd_one).barred_until) is barred
    assert not any(part(lab, node).barred_until for node in lab.nodes[:7])


# -- J8: accusers that the majority could not confirm (decision 029) ----------------------------------------------


@pytest.mark.parametrize(("said", "equal", "excused"), [
    ({A: (true_row, False), B: (OTHERS, True), C: (THIRD, True)}, {A}, {A}),
    # it is not known to have the executor's kernels
    ({A: (true_row, False), B: (OTHERS, True), C: (THIRD, True)}, set(), set()),
    # a validator on the same kernels contradicts it
    ({A: (true_row, False), B: (OTHERS, True), C: (true_row, True)}, {A, C}, set()),
    # one with the same bits says 'valid'
    ({A: (true_row, False), B: (true_row, True), C: (true_row, True)}, {A}, set()),
    ({A: (false_row, False), B: (OTHERS, True), C: (THIRD, True)}, {A}, set()),  # it did not run the model
    ({A: (None, False), B: (OTHERS, True), C: (THIRD, True)}, {A}, set()),  # refused at stage 0, which needs no kernels
    ({A: (true_row, False), D: (true_row, False), B: (OTHERS, True), C: (THIRD, True)}, {A, D}, {A, D}),
])
def test_an_accuser_is_excused_where_the_majority_has_other_kernels(
    said: dict[bytes, tuple[Any, bool]], equal: set[bytes], excused: set[bytes]
) -> None:
    verdicts = [
        seen(node, row, valid=valid, llr=-2000 if valid else 30_000, tokens=10 if row else 0)
        for node, (row, valid) in said.items()
    ]
    for order in (verdicts, verdicts[::-1]):
        assert excused_invalid([order], dict.fromkeys(said, 10), frozenset(equal), 500) == excused
    assert excused_invalid([verdicts], dict.fromkeys(said, 0), frozenset(equal), 500) == set()


@pytest.mark.parametrize("known", [True, False])
def test_an_honest_minority_that_alone_finds_faults_is_neither_barred_nor_fined(known: bool) -> None:
    """The executor and node 7 have the same kernels, everybody else has others. known: node 7 serves on these kernels;
    else only its verdicts say so."""
    lab = Lab(rules=replace(RULES, conviction_milli=10**9))
    seer = lab.nodes[7]
    put_collateral(lab, seer, 1_000_000)
    if known:
        lab.decide(lab.drawn(executor=seer), lambda node: {})
    lab.view.put_conduct(lab.nodes[2], Conduct())
    for _ in range(25):
        lab.decide(
            lab.drawn(executor=lab.nodes[1]),
            lambda node: {"valid": False, "llr": 30_000, "row": true_row} if node == seer else {"row": OTHERS}
        )
    assert lab.view.conduct(seer).compared > 3
    assert bool(part(lab, seer).barred_until) is not known
    assert (part(lab, seer).collateral_micro == 1_000_000) is known


def dispute(known: tuple[int, ...], blocks: int) -> tuple[set[bytes], tuple[bytes, ...]]:
    """A dispute in a network of ten nodes, of which `known` have reputation on the executor's stack: (those of them
    that can still be drawn, the second committee)."""
    lab = Lab(peers=10)
    lab.block(blocks)
    for number in known:
        lab.view.put_participant(replace(part(lab, lab.nodes[number]), reputations=reputations(50)))
    inference_id = lab.drawn(executor=lab.nodes[1])
    first = lab.members(inference_id)
    lab.say([lab.verdict(inference_id, node, valid=False) for node in first])
    second = lab.members(inference_id)
    assert len(second) == 3
    assert not {*first, lab.nodes[1]} & set(second)
    return {lab.nodes[number] for number in known} - {*first, lab.nodes[1]}, second


def test_half_of_a_disputes_committee_is_known_to_have_the_executors_kernels() -> None:
    """As long as nodes with these kernels have a quarter of the weight."""
    for blocks in range(1, 12):
        left, second = dispute((1, 2, 3, 4), blocks)
        assert len(left & set(second)) >= min(2, len(left))
    without = [dispute((2, 3), blocks) for blocks in range(1, 12)]
    assert any(left and not left & set(second) for left, second in without), (
        "with a fifth of the weight no places are kept for them"
    )


# -- J7: numbers of other weights (decision 028) ------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "found"), [
    ({A: true_row, B: true_row, C: noisy(45)}, {A: 0, B: 0, C: 45}),
    ({A: true_row, B: true_row, C: noisy(45), D: noisy(-85), E: true_row}, {A: 0, B: 0, E: 0, C: 45, D: 85}),
    ({A: true_row, B: noisy(45), C: noisy(85)}, {}),  # no two have equal kernels
    ({A: true_row, B: true_row, C: noisy(45), D: noisy(45)}, {}),  # half of the weight is no majority
    ({A: true_row, B: true_row, C: noisy(501)}, {A: 0, B: 0}),  # beyond the tolerance it is an outlier: J1
    ({A: true_row, B: true_row, C: None}, {A: 0, B: 0}),
])
def test_distances_are_from_equal_kernels_that_have_the_majority(
    rows: dict[bytes, Any], found: dict[bytes, int]
) -> None:
    verdicts = [seen(node, row) for node, row in rows.items()]
    for order in (verdicts, verdicts[::-1]):
        assert distances(order, dict.fromkeys(rows, 10), 500) == found
    assert distances(verdicts, dict.fromkeys(rows, 0), 500) == {}


@pytest.mark.parametrize(("distance", "barred"), [(45, False), (62, False), (85, True)])
def test_numbers_further_away_than_those_of_other_kernels_bar(distance: int, barred: bool) -> None:
    lab, rounds = (
        Lab(
            epoch_blocks=100,
            models=(ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 2, 1, 2048, kernel_distance_milli=62),),
        ),
        0,
    )
    cheap = lab.nodes[7]
    while not part(lab, cheap).barred_until and rounds < 180:
        lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {"row": noisy(distance)} if node == cheap else {})
        rounds += 1
    assert bool(part(lab, cheap).barred_until) is barred
    assert not any(
        part(lab, node).barred_until or lab.view.conduct(node).distance.log_milli() > 3000 for node in lab.nodes[:7]
    )
    if barred:
        assert "numbers of other weights" in part(lab, cheap).barred_reason
        lab.block(part(lab, cheap).barred_until + 1 - lab.height)
        assert (part(lab, cheap).barred_until, lab.view.conduct(cheap).distance) == (0, Detector()), "it is used up"


def test_without_a_kernel_distance_in_the_model_nobody_is_measured() -> None:
    lab = Lab()
    for _ in range(5):
        lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {"row": noisy(400)} if node == lab.nodes[7] else {})
    assert all(lab.view.conduct(node).distance == Detector() for node in lab.nodes)
