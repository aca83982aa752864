"""`folkmoot join` before anything is dialled: what it refuses, and who says that a network is the right one."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import pytest

from p2p.base.errors import ConfigError
from p2p.base.genesis import Genesis, load_genesis
from p2p.cli import join
from p2p.cli.main import main
from testnet.generate import Plan, generate

PEER = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWGC6TvWhfajpX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5u"


@pytest.fixture(scope="module")
def genesis(tmp_path_factory: pytest.TempPathFactory) -> Genesis:
    return load_genesis(generate(Plan(tmp_path_factory.mktemp("net"), 1))[0] / "genesis.cbor")


@pytest.mark.parametrize(("words", "field"), [
    (["nowhere"], "target"),
    ([PEER, "--genesis-hash", "12"], "genesis_hash"),
    ([PEER, "--ml-node", "unix:/x"], "ml_node"),
    ([PEER, "--fund", "/nonexistent"], "fund"),
    ([PEER, "--serve", "m", "--fund", "/nonexistent"], "fund"),
    ([PEER, "--engine", "torch"], "engine"),
])
def test_what_is_wrong_is_said_before_anything_is_dialled(
    words: list[str], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["join", *words, "--json", "--dir", str(tmp_path / "p")]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["field"] == field
    assert not (tmp_path / "p").exists()


class Typed(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        return True


TYPED = {"y\n": True, "yes\n": True, "n\n": False, "\n": False, "": False}


@pytest.mark.parametrize(("typed", "joins"), TYPED.items(), ids=["y", "yes", "n", "enter", "end"])
def test_at_a_terminal_the_hash_is_shown_and_only_yes_joins(
    typed: str, joins: bool, genesis: Genesis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(typed))
    options = argparse.Namespace(json=False)
    if joins:
        join._confirm(options, genesis, "peer x")
    else:
        with pytest.raises(ConfigError, match=f"--genesis-hash {genesis.network}"):
            join._confirm(options, genesis, "peer x")
    assert genesis.hash.hex() in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_without_a_terminal_nobody_is_asked(
    as_json: bool, genesis: Genesis, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("y\n") if as_json else io.StringIO("y\n"))
    with pytest.raises(ConfigError, match="nothing says that this is the network you mean"):
        join._confirm(argparse.Namespace(json=as_json), genesis, "peer x")


def test_a_model_that_does_not_fit_or_is_not_there_is_refused_before_the_folder_is_made(
    genesis: Genesis, tmp_path: Path,
) -> None:
    options = argparse.Namespace(ml_node="http://127.0.0.1:1", tokenizer=None, serve="other", dir=tmp_path)
    with pytest.raises(ConfigError, match="the network's models are"):
        join._model_settings(options, genesis, join._Say(as_json=True))
