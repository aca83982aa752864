"""The random run, short: every kind of record is applied and refused, every end of an inference occurs, and each fault
that the run watches for is found when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import p2p.chain.execution
from p2p.base.errors import InvalidRequest
from p2p.base.types import ENDED, RecordKind
from p2p.ledger import genesis, governance
from p2p.ledger.money import epoch_settlement as epochs
from p2p.ledger.money import outcomes
from p2p.ledger.participants import sprint
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import OpKind
from tests.ledger.soak import watch
from tests.ledger.soak.people import People
from tests.ledger.soak.run import Run, run
from tests.ledger.soak.watch import Violation, Watch

SEED, RECORDS, STARTS = 8, 5000, 9


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run replaces functions of the ledger to watch them; this restores them."""
    for name in ("apply_record", "seal"):
        monkeypatch.setattr(p2p.chain.execution, name, getattr(p2p.chain.execution, name))


def test_random_records_of_every_kind(tmp_path: Path) -> None:
    tally = run(SEED, RECORDS, tmp_path, print, STARTS)
    print(f"seed {SEED}: {tally}")
    rare = {"OP.APPEAL"}  # there may be too few lost disputes for it
    kinds = {kind.name for kind in RecordKind if kind is not RecordKind.OP} | {f"OP.{kind.name}" for kind in OpKind}
    assert {name for name in kinds - rare if not tally.applied[name]} == set(), "each kind of record was applied"
    assert {name.partition(".")[0] for name in tally.refused} == {kind.name for kind in RecordKind}, (
        "and each was refused"
    )
    assert set(tally.statuses) == set(ENDED), "every end of an inference occurred"
    assert tally.records // 10 < tally.wrong.total() < tally.records // 2
    assert tally.meant_refused.total() * 10 < tally.meant, "most records that are meant well are applied"
    assert min(tally.epochs, tally.compared, tally.batches_refused.total()) > 0


def blocks(folder: Path, count: int) -> None:
    this = Run(SEED, folder, Watch(every=1), STARTS)
    try:
        for _ in range(count):
            this.block()
    finally:
        this.chain.close()


def test_a_lost_micro_credit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credit = outcomes.credit
    monkeypatch.setattr(outcomes, "credit", lambda view, public, amount: credit(view, public, max(amount - 1, 0)))
    with pytest.raises(Violation, match="minted"):
        blocks(tmp_path, 20)


def test_a_bounty_that_is_not_paid_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = epochs.shares
    monkeypatch.setattr(
        epochs, "shares", lambda amount, points: {node: part + 1 for node, part in shares(amount, points).items()}
    )
    monkeypatch.setattr(epochs, "credit", lambda view, public, amount: None)
    with pytest.raises(Violation, match=r"minted|balance"):
        blocks(tmp_path, 30)


def test_a_refused_record_that_changes_the_state_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = watch.apply_record

    def careless(ctx: Context, *rest: Any) -> None:
        try:
            honest(ctx, *rest)
        except InvalidRequest:
            ctx.view.put(b"trace", b"\x01")
            raise

    monkeypatch.setattr(watch, "apply_record", careless)
    with pytest.raises(Violation, match="changed the state"):
        blocks(tmp_path, 5)


def test_an_opening_without_a_commitment_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprint.merkle, "verify", lambda *rest: True)
    with pytest.raises(Violation, match=r"a SPRINT_OPEN that is wrong \((other tokens|a cut proof)"):
        blocks(tmp_path, 240)


def test_weights_counted_before_all_is_decided_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(People, "genesis", lambda self, made=People.genesis: replace(made(self), epoch_blocks=12))
    monkeypatch.setattr(genesis, "check_sprint", lambda genesis: None)
    with pytest.raises(Violation, match="undecided when weights are counted"):
        blocks(tmp_path, 12)


def test_a_wrong_record_that_is_applied_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governance, "_weight", lambda view, account: 1)
    with pytest.raises(Violation, match="no weight"):
        blocks(tmp_path, 40)
