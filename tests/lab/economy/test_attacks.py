"""Attacks that cost no computing: none pays, and none gets an honest operator struck, suspended, barred or kept out;
without the defence each of them works."""

from __future__ import annotations

import pytest

from p2p.base.genesis import CheckRules
from p2p.base.types import Status, VerdictKind
from p2p.lab.economy import committees
from p2p.lab.economy.attacks import Attacked
from p2p.lab.economy.scenarios import AGAINST, attacks
from p2p.lab.economy.strategies import ATTACKS, VICTIM, Attack
from p2p.lab.economy.trial import Outcome, play_all
from p2p.ledger.money import outcomes
from p2p.ledger.participants import places
from p2p.verification.duty import convicts

SEED = 11


def played(name: str, epochs: int = 2) -> dict[str, Outcome]:
    (scenario,) = [one for one in attacks(epochs=epochs, seeds=1, answers=8, clients=50) if one.name == AGAINST + name]
    return play_all([scenario], SEED)[scenario.name]


def world(name: str) -> Attacked:
    (scenario,) = [one for one in attacks(epochs=2, seeds=1, answers=8, clients=50) if one.name == AGAINST + name]
    return Attacked(scenario.setting, SEED)


@pytest.mark.parametrize("name", [one.name for one in ATTACKS if one.attack not in (Attack.NONE, Attack.SQUAT)])
def test_no_honest_operator_is_struck_or_out_and_the_attack_was_played(name: str) -> None:
    found = played(name)
    for who in (VICTIM, "honest"):
        counts = found[who].counts
        out = {what: counts.get(what, 0) for what in ("suspended epochs", "barred epochs", "convicted epochs")}
        assert not any(out.values()), (who, out, f"seed {SEED}")
        refused, checked, rules = counts.get("INVALIDATED", 0), counts.get("checked", 0), CheckRules()
        assert checked > 10
        assert not convicts(
            refused, checked, rules.false_alarm_ppm, rules.conviction_ppb
        ), (who, refused, checked, "beyond false alarms")
    attacker = found[name].counts
    withheld = name == "frames by withholding"
    assert withheld or attacker.get("aimed", 0) + attacker.get("steered", 0) > 0


def test_who_fills_all_places_pays_and_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.lab.economy.attacks.MAX_PARTICIPANTS", 60)
    monkeypatch.setattr(places, "MAX_PARTICIPANTS", 60)
    found = played("squats places")
    counts = found[VICTIM].counts
    assert counts["newcomers"] == counts["came in"] > 10
    assert found["squats places"].mean() < 0 < found["honest"].mean(), f"seed {SEED}"


def test_a_price_that_counted_what_comes_back_would_be_pumped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the defence: unconfirmed answers count as use."""
    def price() -> int:
        one = world("pumps the price")
        one.run()
        return one.network.price_micro()

    steady, refund = price(), outcomes.refund

    def counting(ctx, entry, *rest) -> None:  # type: ignore[no-untyped-def]
        outcomes.used_by(ctx, entry.request.model, entry.finish.output_tokens)
        refund(ctx, entry, *rest)

    monkeypatch.setattr(outcomes, "refund", counting)
    assert price() > 1.5 * steady, f"seed {SEED}"


def test_a_validator_that_called_invalid_what_it_could_not_get_would_strike_the_victim(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the defence: verdicts as they were before decision 033."""
    monkeypatch.setattr(committees, "NO_PAYLOAD", VerdictKind.INVALID)
    found = played("frames by unavailability")
    assert found[VICTIM].counts.get(Status.INVALIDATED.value, 0) > 0
    assert found[VICTIM].counts["strikes"] > 0


