"""Values in a genesis file: with those that are accepted the chain runs, and those that would stop a validator later
are refused with their field. Random records on the real chain."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict, replace

import p2p.chain.execution
from p2p.base.errors import ConfigError, InvalidRequest
from p2p.base.genesis import CheckRules, EconomyRules, Genesis, GenesisAccount, GenesisChange, GenesisPeer
from p2p.base.types import VERSION
from p2p.ledger.genesis import check_genesis
from p2p.ledger.rules import parameters
from p2p.verification.sequential import SHARES_MILLI, Detector, EProcess, Evidence
from tests.ledger.soak.people import People
from tests.ledger.soak.run import Run
from tests.ledger.soak.watch import Watch

BASE = People(7).genesis()
EDGES = (
    0, 1, 2, 3, 10, 64, 99, 100, 999, 1000, 1001, 5000, 10**4, 10**6, 10**7, 10**9, 10**12, 2**31, 2**32 - 1, 2**48,
    2**62, 2**63 - 1,
)
HOLDERS = ("checks", "economy", "sprint", "models", "")
RUNS, BLOCKS, CHANGED = 6, 30, 4  # an epoch has 29 heights


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apply_record", "seal"):
        monkeypatch.setattr(p2p.chain.execution, name, getattr(p2p.chain.execution, name))


def changed(genesis: Genesis, where: str, field: str, value: int) -> Genesis | None:
    """`genesis` with one value changed; None where the type itself refuses it."""
    holder: Any = genesis.models[0] if where == "models" else getattr(genesis, where) if where else genesis
    plain = msgspec.to_builtins(replace(holder, **{field: value}), builtin_types=(bytes,))
    try:
        new = msgspec.convert(plain, type(holder), strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return None
    if where == "models":
        return replace(genesis, models=(new,))
    return replace(genesis, **{where: new}) if where else new


def numbers(where: str) -> list[str]:
    holder: Any = BASE.models[0] if where == "models" else getattr(BASE, where) if where else BASE
    return [name for name, value in asdict(holder).items() if isinstance(value, int) and not isinstance(value, bool)]


def test_every_number_is_accepted_or_refused_by_its_name() -> None:
    refused = 0
    for where in HOLDERS:
        for field in numbers(where):
            for value in EDGES:
                genesis = changed(BASE, where, field, value)
                if genesis is None:
                    continue
                said = ConfigError("it is taken as it is", field="none")
                try:
                    check_genesis(genesis)
                except ConfigError as error:
                    refused, said = refused + 1, error
                assert said.field
                assert len(said.message) > 10
    assert refused > 100


def test_the_largest_evidence_fits_its_field() -> None:
    """The largest cap for one inference, and an epoch full of inferences at the cap."""
    evidence = Evidence(Detector(EProcess((5 * 10**14,) * len(SHARES_MILLI))))
    assert evidence.after_epoch(begun=True).updated(10**6, 10**6, by_lot=False, late=True).log_milli() > 4 * 10**11


@pytest.mark.parametrize("seed", range(RUNS))
def test_an_accepted_genesis_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Several numbers at their bounds at once, past an epoch's end, with records of every kind."""
    rng, genesis, left = random.Random(seed), BASE, CHANGED
    while left:
        where = rng.choice(HOLDERS)
        new = changed(genesis, where, rng.choice(numbers(where)), rng.choice(EDGES))
        try:
            check_genesis(new or replace(BASE, name=""))
        except ConfigError:
            continue
        assert new is not None
        genesis, left = new, left - 1
    monkeypatch.setattr(People, "genesis", lambda self: genesis)
    this = Run(7, tmp_path, Watch(), 3)
    try:
        for _ in range(BLOCKS):
            this.block()
    finally:
        this.chain.close()


NODE, OTHER = BASE.peers[0], BASE.peers[1]


@pytest.mark.parametrize(("change", "field"), [
    ({"checks": replace(BASE.checks, false_alarm_ppm=5000)}, "checks.false_alarm_ppm"),
    ({"checks": replace(BASE.checks, honest_miss_ppm=0)}, "checks.honest_miss_ppm"),
    ({"checks": replace(BASE.checks, appeal_committee=3, dispute_committee=5)}, "checks.appeal_committee"),
    ({"economy": replace(BASE.economy, validator_share_milli=900, burn_share_milli=200)}, "economy.burn_share_milli"),
    ({"economy": replace(BASE.economy, price_low_milli=700)}, "economy.price_low_milli"),
    ({"economy": replace(BASE.economy, emission_micro=2**62)}, "economy.emission_micro"),
    ({"economy": replace(BASE.economy, keep_epochs=2**32 - 1)}, "economy.keep_epochs"),
    ({"models": (replace(BASE.models[0], price_micro=1),)}, "models.price_micro"),
    ({"models": (replace(BASE.models[0], context_tokens=0),)}, "models.context_tokens"),
    ({"models": (replace(BASE.models[0], retired=True),)}, "models.retired"),
    ({"models": (BASE.models[0], BASE.models[0])}, "models.model"),
    ({"models": ()}, "peers.models"),
    ({"models": (replace(BASE.models[0], profile_hash="xx"),)}, "models.profile_hash"),
    ({"peers": ()}, "peers"), ({"peers": (NODE, NODE)}, "peers.node"),
    ({"peers": tuple(replace(p, weight=0) for p in BASE.peers)}, "peers.weight"),
    ({"peers": (replace(NODE, weight=2**60), OTHER)}, "peers.weight"),
    ({"peers": (replace(NODE, models=("other",)),)}, "peers.models"),
    ({"peers": tuple(GenesisPeer(bytes([i]) * 32, NODE.owner, 1, ()) for i in range(17))}, "peers.owner"),
    ({"peers": tuple(GenesisPeer(bytes([i]) * 32, bytes([i]) * 32, 1, ()) for i in range(129))}, "peers.weight"),
    ({"accounts": (GenesisAccount(NODE.owner, 2**62), GenesisAccount(OTHER.owner, 1))}, "accounts.balance_micro"),
    ({"accounts": (GenesisAccount(NODE.owner, 1),) * 2}, "accounts"),
    ({"version": VERSION + 1}, "version"),
    ({"name": "a b"}, "name"),
    ({"time_ms": 2**63 - 1}, "time_ms"),
    ({"committee": 0}, "committee"), ({"epoch_blocks": 1}, "epoch_blocks"),
    ({"epoch_blocks": 2**32 - 1}, "epoch_blocks"),
    ({"changes": (GenesisChange(1, NODE.node, 1),)}, "changes"),
])
def test_values_that_would_stop_a_validator_later_are_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_genesis(replace(BASE, **change))
    assert caught.value.field == field


@pytest.mark.parametrize("changes", [
    tuple(GenesisChange(2, peer.node, 0) for peer in BASE.peers), (GenesisChange(0, NODE.node, 2**60),),
    (GenesisChange(1, NODE.node, 1), GenesisChange(1, NODE.node, 2)),
])
def test_planned_validator_changes_leave_a_set_that_can_decide(changes: tuple[GenesisChange, ...]) -> None:
    still = replace(BASE, sprint=replace(BASE.sprint, blocks=0))
    check_genesis(replace(still, changes=(GenesisChange(1, NODE.node, 0),)))
    with pytest.raises(ConfigError) as caught:
        check_genesis(replace(still, changes=changes))
    assert caught.value.field.startswith("changes")


@pytest.mark.parametrize(("rules", "field", "value"), [
    (CheckRules(), "false_alarm_ppm", 5000), (CheckRules(), "reveal_window", 2**32 - 1),
    (EconomyRules(), "gov_window", 2**32 - 1),
    (EconomyRules(), "emission_micro", 2**62), (EconomyRules(), "keep_epochs", 2**32 - 1),
    (BASE.models[0], "price_micro", 2**62),
])
def test_a_vote_is_checked_in_the_same_way(rules: Any, field: str, value: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parameters.changed(rules, ((field, value),))
    assert caught.value.field == field
