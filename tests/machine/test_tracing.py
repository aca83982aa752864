"""Steps of an inference: the first time of each, of the newest inferences."""

from __future__ import annotations

from p2p.base.limits import MAX_KEPT_STEPS
from p2p.machine.tracing import Steps


def test_a_step_counts_the_first_time_and_in_order() -> None:
    marks = Steps()
    for step in ("asked", "checked", "asked"):
        marks.mark(b"one", step)
    found = marks.of(b"one")
    assert list(found) == ["asked", "checked"]
    assert 0 < found["asked"] <= found["checked"]
    assert marks.of(b"another") == {}


def test_the_oldest_inferences_are_forgotten() -> None:
    marks = Steps()
    for number in range(MAX_KEPT_STEPS + 3):
        marks.mark(number.to_bytes(4, "big"), "asked")
    kept = [number for number in range(MAX_KEPT_STEPS + 3) if marks.of(number.to_bytes(4, "big"))]
    assert kept == list(range(3, MAX_KEPT_STEPS + 3))
