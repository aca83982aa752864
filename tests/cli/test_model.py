"""`folkmoot model`: what it says of a folder, and what it does not propose to a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p.cli.main import main
from p2p.inference.stack.model import weights_hash
from p2p.verification.profile import Profile
from tests.text.families import CHATML, table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 258 tokens whose weights are a few bytes."""
    found = tmp_path / "toy-model"
    found.mkdir()
    (found / "tokenizer.json").write_text(json.dumps(table()))
    (found / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (found / "config.json").write_text(json.dumps({
        "vocab_size": 258, "max_position_embeddings": 128, "eos_token_id": 257,
    }))
    (found / "model.safetensors").write_bytes(b"weights")
    return found


def described(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert main(["model", "describe", str(folder), *more, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_model_without_template_or_calibration_is_described(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = described(folder, capsys)
    assert (found["model"], found["vocabulary"], found["end_tokens"]) == ("toy-model", 258, "257")
    assert found["template_hash"] == "none: completions only"
    assert str(found["profile_hash"]).startswith("none: calibrate it")
    (folder / "chat_template.jinja").write_text(CHATML)
    assert len(str(described(folder, capsys)["template_hash"])) == 64


def test_a_model_that_nobody_could_check_is_not_proposed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "add", str(folder), "--peer", "/ip4/127.0.0.1/tcp/1", "--dir", str(tmp_path)]) != 0
    assert "nobody could check it; make one with `folkmoot calibrate" in capsys.readouterr().err


def test_a_profile_of_other_weights_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "profile.json"
    file.write_text(Profile("toy-model", "00" * 32, {}, 500, {}).to_json())
    assert main(["model", "describe", str(folder), "--profile", str(file)]) != 0
    assert "the profile is of toy-model with the weights 000000000000" in capsys.readouterr().err
    right = Profile("toy-model", weights_hash(folder).hex(), {}, 500, {})
    file.write_text(right.to_json())
    assert described(folder, capsys, "--profile", str(file))["profile_hash"] == right.hash()
