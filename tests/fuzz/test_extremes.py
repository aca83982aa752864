"""Signed extremes in short: a share of all variants, and that each kind of fault is seen when it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2p.base.keys import Domain, verify
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION, Params, Request
from p2p.consensus import wire
from p2p.consensus.bodies import Bodies
from p2p.consensus.inbox import Inbox
from p2p.ledger.participants import registry
from tests.fuzz.extreme_run import BUDGET, Result, run_kind, try_one
from tests.fuzz.extremes import variants
from tests.fuzz.kind import Kind
from tests.fuzz.meter import Cost, metered
from tests.fuzz.signed import all_kinds
from tests.fuzz.world import VALIDATOR, WHO, World
from tests.golden.samples import kinds, sample

EVERY = 9  # of the variants; another share of each kind, so that the run as a whole sees every name


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name)
def test_no_signed_extreme_costs_more_than_its_budget_or_stops_the_peer(kind: Kind, tmp_path: Path) -> None:
    result, at = Result(), sum(kind.name.encode())
    for number, who in enumerate(WHO):
        run_kind(kind, who, tmp_path / who, result, every=EVERY, first=at + number)
    assert not result.bad, "\n".join(result.bad[:5])
    assert result.inputs > 0


@pytest.mark.parametrize("name", sorted(kinds()))
def test_every_field_of_every_message_has_its_borders(name: str) -> None:
    original = sample(kinds()[name])
    found = dict(variants(original))
    fields = {path.split("=")[0].split(".")[0].split("[")[0] for path in found}
    assert fields == set(kinds()[name].__struct_fields__), "no field is left out"
    assert all(changed != original for changed in found.values())


def test_the_borders_of_a_number() -> None:
    request = Request(VERSION, "n", bytes(32), 5, "toy", bytes(32), Params(), 50, 50, 100, 40, bytes(32), 39)
    found = {path: changed.client_nonce for path, changed in variants(request) if path.startswith("client_nonce=")}
    assert set(found.values()) == {0, -1, 4, 6, 2**63 - 1, 2**63, 2**31 - 1, 2**64 - 1}
    deep = {
        path: changed.params.temperature_milli for path, changed in variants(request)
        if path.startswith("params.temperature_milli=")
    }
    assert {2000, 2001, 0, -1, 699, 701} <= set(deep.values())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def kind_named(name: str) -> Kind:
    return next(kind for kind in all_kinds() if kind.name == name)


def judged(world: World, kind: Kind, change: Callable[[object], object] = lambda message: message) -> list[str]:
    result = Result()
    message = kind.make(world, VALIDATOR)
    try_one(world, kind, "validator", "by hand", change(message), result, memory=False)  # type: ignore[arg-type]
    return result.bad


def test_a_loop_as_long_as_a_number_says_is_seen_and_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Bodies, forwarder: str, data: bytes) -> tuple[Outcome, None]:
        del self, forwarder, data
        for _ in range(2**40):
            pass
        return Outcome.IGNORE, None

    assert judged(world, kind_named("proposal")) == []
    monkeypatch.setattr(Bodies, "judge", slow)
    assert "more than" in judged(world, kind_named("proposal"))[0]


def test_an_untyped_error_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Inbox, message: wire.Wire) -> tuple[Outcome, None]:
        raise KeyError(message)

    monkeypatch.setattr(Inbox, "judge_vote", broken)
    assert "KeyError" in judged(world, kind_named("vote prevote"))[0]


def test_a_peer_that_stands_still_is_seen(world: World) -> None:
    world._timers.clear()
    with pytest.raises(AssertionError, match="nothing is left"):
        world.grow()


def test_a_block_that_cannot_be_applied_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the past: a participant lost its place within a block that still held a record of it."""
    remove = registry._remove

    def broken(*words: Any) -> None:
        remove(*words)
        raise AssertionError("no such participant")

    monkeypatch.setattr(registry, "_remove", broken)
    result = Result()
    run_kind(kind_named("account transaction Register"), "stranger", tmp_path, result, every=1000)
    assert "no such participant" in result.bad[0]


def test_lines_signatures_and_memory_are_counted() -> None:
    def lines(rounds: int) -> int:
        cost = Cost()
        with metered(cost, 10_000):
            for _ in range(rounds):
                _one()
        return cost.lines

    assert lines(20) - lines(10) == 10
    heavy = Cost()
    with metered(heavy, 1000, memory=True):
        _ = bytes(3_000_000)
    assert heavy.held >= 3_000_000
    signed = Cost()
    with metered(signed, 10_000):
        assert not verified()
    assert signed.signatures == 1


def _one() -> int:
    return 1


def verified() -> bool:
    return verify(VALIDATOR.public, Domain.TX, "n", b"", bytes(64))


def test_the_budget_grows_with_the_input() -> None:
    (lines, held), (more_lines, more_held) = BUDGET.for_size(0), BUDGET.for_size(10_000)
    assert lines < more_lines
    assert held < more_held
