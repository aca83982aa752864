"""Cheats in a test network's files: who gets which engine, and what each peer's configuration says."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from p2p.attacks import weights
from p2p.cli.testnet import _cheats
from p2p.config import load_config
from p2p.errors import ConfigError
from testnet import up
from testnet.generate import Plan, generate

HONEST = "http://127.0.0.1:1"


def test_cheats_with_the_same_weights_share_one_ml_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[tuple[str, str, tuple[str, ...]]] = []

    def start(directory: Path, name: str, model: Path, say: object, *, flags: tuple[str, ...] = ()) -> str:
        started.append((name, model.name, tuple(flags)))
        return f"http://127.0.0.1:{len(started) + 1}"

    monkeypatch.setattr(up, "start_ml_node", start)
    monkeypatch.setattr(weights, "prepare", lambda name, say, model: Path(f"/models/{name}"))
    cheats = {1: "int4", 2: "laundered_int4", 3: "substitution_10", 4: "fp8_kv", 5: "wrong_seed", 6: "int8"}
    urls = up._altered_nodes(tmp_path, Path("/models/right"), cheats, lambda text: None)
    assert urls[1] == urls[2] == urls[3]
    assert 5 not in urls, "it runs an honest engine"
    assert started == [("ml-int4", "int4", ()), ("ml-fp8_kv", "right", ("--kv-cache-dtype", "fp8")), ("ml-int8", "int8", ())]


def test_a_cheat_s_configuration_names_attack_honest_engine_and_friends(tmp_path: Path) -> None:
    folders = generate(Plan(tmp_path / "n", 4, cheats={2: "laundered-int8", 3: "colluding_validator"}, honest_ml_node=HONEST))
    configs = [load_config(folder) for folder in folders]
    assert [c.cheat for c in configs] == [None, None, "laundered_int8", "colluding_validator"]
    assert [c.honest_ml_node for c in configs] == [None, None, HONEST, HONEST]
    assert len(configs[3].cheat_friends) == 1


def test_an_unknown_cheat_or_friends_without_a_colluder_are_refused(tmp_path: Path) -> None:
    folder = generate(Plan(tmp_path / "n", 1))[0]
    for more, field in (({"cheat": "nice"}, "cheat"), ({"cheat": "int8", "cheat_friends": ("ab" * 32,)}, "cheat_friends"),
                        ({"cheat": "colluding_validator", "cheat_friends": ("x",)}, "cheat_friends"),
                        ({"honest_ml_node": "ftp://x"}, "honest_ml_node")):
        with pytest.raises(ConfigError) as caught:
            load_config(folder, **more)
        assert caught.value.field == field


def test_the_command_line_names_cheats_by_peer_or_as_one_more() -> None:
    def cheats(*texts: str) -> tuple[int, dict[int, str]]:
        return _cheats(argparse.Namespace(peers=4, cheat=list(texts)))

    assert cheats("smaller-model") == (5, {4: "smaller_model"})
    assert cheats("2=int8", "4=laundered_int4") == (4, {1: "int8", 3: "laundered_int4"})
    for wrong in ("9=int8", "0=int8", "x=int8", "2=nice"):
        with pytest.raises(ConfigError):
            cheats(wrong)
