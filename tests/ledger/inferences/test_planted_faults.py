"""Planted faults are allowed only in answers to the executor's own owner, with a commitment before and a reveal in
time; anything else is cheating."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from p2p.base.errors import FolkmootError
from p2p.base.types import StackClass
from p2p.ledger.inferences.planted_faults import MAX_FAULT_NAMES, MAX_OPEN
from p2p.ledger.state.records import BoundStack, Conduct
from p2p.verification.sequential import Evidence
from tests.ledger.lab import CLIENT, RULES, Lab

WINDOW = RULES.plant_window
LAX = replace(RULES, min_checked_tokens=0)


def planted(lab: Lab, number: int = 1, fault: str = "int4", *, caught: bool = True, commit: bool = True) -> bytes:
    """The id of an answer of peer `number` to its own owner, with a planted fault, after its decision."""
    signed = lab.start(lab.owners[number], lab.agent_for(lab.nodes[number]))
    while lab.nodes[number] not in lab.inference(signed.inference_id).candidates:
        signed = lab.start(lab.owners[number], lab.agent_for(lab.nodes[number]))
    if commit:
        lab.plant(signed.inference_id, lab.nodes[number], fault)
    lab.finish(signed.inference_id, lab.nodes[number])
    lab.block(2)
    lab.decide(signed.inference_id, lambda node: {"valid": not caught})
    return signed.inference_id


def strikes(lab: Lab, number: int) -> int:
    found = lab.view.participant(lab.nodes[number])
    assert found is not None
    return found.strikes


def test_a_revealed_plant_costs_nothing_and_is_counted() -> None:
    lab = Lab()
    inference_id = planted(lab)
    assert lab.status(inference_id) == "INVALIDATED"
    assert strikes(lab, 1) == 0, "blame waits for the reveal"
    lab.show(inference_id, lab.nodes[1])
    lab.block(WINDOW + 2)
    assert strikes(lab, 1) == 0
    assert lab.view.conduct(lab.nodes[1]) == Conduct(
        finished=1, plants=1, bound=(BoundStack("toy", StackClass.CPU_BF16.value),)
    )
    (count,) = lab.view.counters().faults
    assert (count.fault, count.planted, count.checked, count.caught) == ("int4", 1, 1, 1)
    assert lab.view.counters().cheats == 0
    assert not lab.view.ids(b"plants/" + lab.nodes[1])


def test_a_planted_fault_that_nobody_caught_counts_in_the_statistics_and_against_nobody() -> None:
    lab = Lab()
    inference_id = planted(lab, caught=False)
    lab.show(inference_id, lab.nodes[1])
    (count,) = lab.view.counters().faults
    assert (count.planted, count.checked, count.caught) == (1, 1, 0)
    assert all(lab.view.conduct(node).outliers == 0 for node in lab.nodes)
    assert lab.view.counters().honest == 0


@pytest.mark.parametrize("commit", [True, False])
def test_a_fault_that_is_not_revealed_in_time_is_cheating(commit: bool) -> None:
    lab = Lab()
    inference_id = planted(lab, commit=commit)
    end = lab.inference(inference_id).end_height
    lab.block(end + WINDOW - lab.height)
    assert strikes(lab, 1) == 0
    lab.block()
    assert strikes(lab, 1) == 1
    with pytest.raises(FolkmootError):
        lab.show(inference_id, lab.nodes[1])
    lab.block(5)
    assert strikes(lab, 1) == 1


def test_a_fault_in_another_clients_answer_is_blamed_at_once_and_cannot_be_planted() -> None:
    lab = Lab()
    signed = lab.start()
    executor = lab.inference(signed.inference_id).candidates[0]
    lab.plant(signed.inference_id, executor)
    lab.finish(signed.inference_id)
    lab.block(2)
    lab.decide(signed.inference_id, lambda node: {"valid": False})
    assert strikes(lab, lab.nodes.index(executor)) == 1
    with pytest.raises(FolkmootError) as caught:
        lab.show(signed.inference_id, executor)
    assert caught.value.field == "account"


def test_answers_to_ones_own_owner_are_no_evidence_of_honesty() -> None:
    lab = Lab()
    planted(lab, caught=False, commit=False)
    conduct = lab.view.conduct(lab.nodes[1])
    assert (conduct.checked, conduct.checked_tokens, conduct.evidence) == (0, 0, Evidence())


def wrong() -> dict[str, tuple[str, Callable[[Lab, bytes], None]]]:
    def late_commitment(lab: Lab, inference_id: bytes) -> None:
        lab.plant(inference_id, lab.nodes[1], "int8")
        lab.show(inference_id, lab.nodes[1], "int8")

    def twice(lab: Lab, inference_id: bytes) -> None:
        lab.show(inference_id, lab.nodes[1])
        lab.show(inference_id, lab.nodes[1])

    return {
        "committed after the finish": ("salt", late_commitment),
        "another fault": ("salt", lambda lab, i: lab.show(i, lab.nodes[1], "int8")),
        "another salt": ("salt", lambda lab, i: lab.show(i, lab.nodes[1], salt=bytes(32))),
        "by another": ("executor", lambda lab, i: lab.show(i, lab.nodes[1], sender=lab.nodes[2])),
        "by another in its own name": ("executor", lambda lab, i: lab.show(i, lab.nodes[2])),
        "twice": ("inference_id", twice),
        "of nothing": ("inference_id", lambda lab, i: lab.show(bytes(32), lab.nodes[1])),
    }


@pytest.mark.parametrize("name", sorted(wrong()))
def test_reveals_of_planted_faults_that_are_refused(name: str) -> None:
    field, attempt = wrong()[name]
    lab = Lab()
    inference_id = planted(lab)
    with pytest.raises(FolkmootError) as caught:
        attempt(lab, inference_id)
    assert caught.value.field == field


def test_before_the_decision_nothing_can_be_revealed() -> None:
    lab = Lab()
    signed = lab.start(lab.owners[1])
    executor = lab.inference(signed.inference_id).candidates[0]
    lab.plant(signed.inference_id, executor)
    with pytest.raises(FolkmootError) as caught:
        lab.show(signed.inference_id, executor)
    assert caught.value.field == "inference_id"


def test_few_faults_may_be_planted() -> None:
    """One, then one more only after `plant_every` finished answers."""
    lab = Lab(12, rules=LAX)
    lab.show(planted(lab), lab.nodes[1])
    second = planted(lab)
    with pytest.raises(FolkmootError) as caught:
        lab.show(second, lab.nodes[1])
    assert caught.value.field == "executor"
    lab.block(WINDOW + 2)
    assert strikes(lab, 1) == 1
    for _ in range(RULES.plant_every):
        lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    lab.show(planted(lab), lab.nodes[1])


def test_open_commitments_are_bounded_and_forgotten() -> None:
    lab = Lab()
    for number in range(MAX_OPEN):
        lab.plant(bytes([number]) * 32, lab.nodes[1])
    with pytest.raises(FolkmootError):
        lab.plant(bytes([200]) * 32, lab.nodes[1])
    with pytest.raises(FolkmootError):
        lab.plant(bytes(32), lab.nodes[2])  # the same commitment
    lab.block(1001)
    assert not lab.view.ids(b"plants/" + lab.nodes[1])
    assert not any(key.startswith(b"plant/") and value for key, value in lab.view.changes.items())


def test_fault_names_are_bounded() -> None:
    lab = Lab(12, rules=replace(LAX, plant_every=1), epoch_blocks=100_000)
    for number in range(MAX_FAULT_NAMES + 2):
        # a fault may be planted for each answer that another account paid for
        lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
        lab.show(planted(lab, fault=f"f{number}", caught=False), lab.nodes[1], f"f{number}")
    counts = lab.view.counters().faults
    assert len(counts) == MAX_FAULT_NAMES + 1
    assert next(c.planted for c in counts if c.fault == "other") == 2


def test_false_alarms_and_honest_answers_are_counted() -> None:
    lab = Lab()
    lab.decide(lab.drawn(account=CLIENT), lambda node: {})
    inference_id = lab.drawn()
    lab.say([lab.verdict(inference_id, node, valid=False) for node in lab.members(inference_id)[:1]])
    lab.decide(inference_id, lambda node: {})
    counters = lab.view.counters()
    assert (counters.honest, counters.false_alarms, counters.cheats) == (2, 1, 0)
