"""Cheats in a test network's files: which peer gets which engine, and what each configuration says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from p2p.base.errors import ConfigError
from p2p.base.toml_file import dump_toml
from p2p.cli.testnet import _cheats
from p2p.lab.attacks import weights
from p2p.lab.attacks.reckless import Reckless
from p2p.lab.roles import roles_of
from p2p.lab.settings import LabSettings, load_settings
from p2p.peer.config import LAB_SETTINGS, load_config, make_config
from p2p.peer.roles import Roles, claimed
from testnet import up
from testnet.generate import Plan, generate

HONEST = "http://127.0.0.1:1"


def test_cheats_with_the_same_weights_share_one_ml_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[tuple[str, str, tuple[str, ...]]] = []

    def start(directory: Path, name: str, model: Path, say: object, *, serves: str, flags: tuple[str, ...] = ()) -> str:
        started.append((name, model.name, tuple(flags)))
        return f"http://127.0.0.1:{len(started) + 1}"

    monkeypatch.setattr(up, "start_ml_node", start)
    monkeypatch.setattr(weights, "prepare", lambda name, say, model: Path(f"/models/{name}"))
    cheats = {1: "int4", 2: "laundered_int4", 3: "substitution_10", 4: "fp8_kv", 5: "wrong_seed", 6: "int8"}
    urls = up._altered_nodes(tmp_path, Path("/models/right"), cheats, lambda text: None)
    assert urls[1] == urls[2] == urls[3]
    assert 5 not in urls, "it runs an honest engine"
    assert started == [
        ("ml-int4", "int4", ()), ("ml-fp8_kv", "right", ("--kv-cache-dtype", "fp8")), ("ml-int8", "int8", ())
    ]


def test_a_cheat_s_configuration_names_attack_honest_engine_and_friends(tmp_path: Path) -> None:
    folders = generate(
        Plan(tmp_path / "n", 4, cheats={2: "laundered-int8", 3: "colluding_validator"}, honest_ml_node=HONEST)
    )
    for folder in folders:
        load_config(folder)  # as an honest peer's
    found = [load_settings(folder) for folder in folders]
    assert [c.cheat for c in found] == [None, None, "laundered_int8", "colluding_validator"]
    assert [c.honest_ml_node for c in found] == [None, None, HONEST, HONEST]
    assert len(found[3].cheat_friends) == 1


@pytest.mark.parametrize(("table", "field"), [
    ({"cheat": "nice"}, "cheat"), ({"cheat": "int8", "cheat_friends": ["ab" * 32]}, "cheat_friends"),
    ({"cheat": 3}, "cheat"),
    ({"cheat": "colluding_validator", "cheat_friends": ["x"]}, "cheat_friends"),
    ({"honest_ml_node": "ftp://x"}, "honest_ml_node"),
    ({"plant_interval_ms": 0}, "plant_interval_ms"), ({"cheats": "int8"}, "cheats"), ({"cheat": "a\x1bb"}, "cheat"),
])
def test_a_wrong_setting_of_the_lab_is_named(tmp_path: Path, table: dict[str, Any], field: str) -> None:
    (tmp_path / "lab.toml").write_text(dump_toml(table))
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    assert caught.value.field == field


@pytest.mark.parametrize("name", LAB_SETTINGS)
def test_an_honest_peer_refuses_the_lab_s_settings(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="lab-peer") as caught:
        make_config(tmp_path, {name: "int8"})
    assert caught.value.field == name


def test_roles_are_honest_but_for_the_cheat() -> None:
    honest, plain = Roles(), roles_of(LabSettings())
    assert (plain.agent, plain.executor, plain.validator, plain.jobs, plain.checks) == (
        honest.agent, honest.executor, honest.validator, honest.jobs, honest.checks)
    found = roles_of(LabSettings(cheat="wrong_seed", honest_ml_node=HONEST))
    assert found.executor is Reckless, "it signs what an honest executor's own check refuses"
    assert (
        found.agent, found.validator, found.checks, found.honest_ml_node
    ) == (honest.agent, honest.validator, claimed, HONEST)
    assert set(LAB_SETTINGS) == set(LabSettings.__struct_fields__)


def test_the_command_line_names_cheats_by_peer_or_as_one_more() -> None:
    def cheats(*texts: str) -> tuple[int, dict[int, str]]:
        return _cheats(argparse.Namespace(peers=4, cheat=list(texts)))

    assert cheats("smaller-model") == (5, {4: "smaller_model"})
    assert cheats("2=int8", "4=laundered_int4") == (4, {1: "int8", 3: "laundered_int4"})
    for wrong in ("9=int8", "0=int8", "x=int8", "2=nice"):
        with pytest.raises(ConfigError):
            cheats(wrong)
