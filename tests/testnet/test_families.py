"""The files of a network that serves two models: who serves which, and with which engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p.base.genesis import load_genesis
from p2p.inference.stack.gemma import NAME as GEMMA
from p2p.lab.settings import load_settings
from p2p.peer.config import DEFAULT_MODEL, load_config
from testnet.families import CHEAT, PEERS, add_ml_nodes, plan
from testnet.generate import generate
from tests.text.families import table

URLS = {"small": "unix:/tmp/small", "gemma": "unix:/tmp/gemma", "int4": "unix:/tmp/int4"}


def model(folder: Path, vocabulary: int) -> Path:
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(table()))
    (folder / "config.json").write_text(json.dumps({
        "vocab_size": vocabulary, "max_position_embeddings": 4096, "eos_token_id": 257,
    }))
    (folder / "model.safetensors").write_bytes(folder.name.encode())
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    small, gemma = model(tmp_path / "small", 258), model(tmp_path / "gemma", 300)
    found = generate(plan(tmp_path / "net", small, gemma, URLS["gemma"]))
    add_ml_nodes(found, URLS, small, gemma)
    return found


def test_the_registry_has_both_models(folders: list[Path]) -> None:
    genesis = load_genesis(folders[0] / "genesis.cbor")
    assert [(one.model, one.vocabulary) for one in genesis.models] == [(DEFAULT_MODEL, 258), (GEMMA, 300)]
    assert len({one.weights_hash for one in genesis.models}) == 2
    assert [peer.models for peer in genesis.peers] == [(DEFAULT_MODEL, GEMMA)] * CHEAT + [(GEMMA,)]


def test_each_peer_has_an_engine_for_what_it_serves(folders: list[Path]) -> None:
    for at, folder in enumerate(folders):
        nodes = {node.model: node.url for node in load_config(folder).every_ml_node}
        wrong = {GEMMA: URLS["int4"]}
        assert nodes == (wrong if at == CHEAT else {GEMMA: URLS["gemma"], DEFAULT_MODEL: URLS["small"]})
        settings = load_settings(folder)
        assert settings.cheat == ("int4" if at == CHEAT else None)
        assert settings.honest_ml_node == (URLS["gemma"] if at == CHEAT else None)
    assert len(folders) == PEERS
