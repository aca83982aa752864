"""What the registry says of a model's tokenizer and stacks binds who serves it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from p2p.base.errors import ConfigError
from p2p.base.genesis import ModelSpec
from p2p.inference.stack.model import check_text, eos_ids, read_tokenizer, vocabulary_size
from p2p.peer.ready_engine import ReadyEngine
from p2p.text.model_text import ModelText, load_model_text
from testnet.simulated_engine import tokenizer_json

RAW = tokenizer_json().encode()
RIGHT, OTHER = hashlib.sha256(RAW).digest(), b"\x01" * 32
TEXT = load_model_text(RAW, "{{ messages }}", {})


def spec(**change: Any) -> ModelSpec:
    fields = {"template_hash": bytes(32)} | change
    template = fields.pop("template_hash")
    return ModelSpec("toy", bytes(32), template, "bfloat16", 10, 1, 2048, **fields)


def engine(stack: str, text: ModelText | None) -> ReadyEngine:
    nothing = cast(Any, None)
    return ReadyEngine(nothing, nothing, frozenset(), stack, text)


def test_another_tokenizer_than_the_registrys_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tokenizer(tmp_path)
    assert caught.value.field == "tokenizer"
    (tmp_path / "tokenizer.json").write_bytes(RAW)
    assert read_tokenizer(tmp_path) == read_tokenizer(tmp_path / "tokenizer.json") == RAW
    assert TEXT.tokenizer_hash == RIGHT
    check_text(TEXT, spec(tokenizer_hash=RIGHT, template_hash=TEXT.template_hash))
    check_text(TEXT, spec(template_hash=OTHER))  # the registry names no files
    for named, field in (
        ({"tokenizer_hash": OTHER}, "tokenizer_hash"),
        ({"tokenizer_hash": RIGHT, "template_hash": OTHER}, "template_hash"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_text(TEXT, spec(**named))
        assert caught.value.field == field


@pytest.mark.parametrize(("wanted", "words"), [
    ({}, ""), ({"tokenizer_hash": RIGHT}, ""), ({"tokenizer_hash": OTHER}, "tokenizer"),
    ({"stacks": ("torch-cpu-bf16",)}, ""), ({"stacks": ("vllm-cpu-bf16",)}, "may not be served"),
])
def test_an_executor_serves_a_model_only_as_the_registry_describes_it(wanted: dict[str, Any], words: str) -> None:
    found = engine("torch-cpu-bf16", TEXT).unfit_for(spec(**wanted))
    assert (words in found) if words else found == ""


def test_without_a_tokenizer_nobody_is_served() -> None:
    assert "tokenizer.json" in engine("torch-cpu-bf16", None).unfit_for(spec())


def test_a_models_own_files_say_what_ends_an_answer(tmp_path: Path) -> None:
    assert eos_ids(tmp_path) == ()
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    assert eos_ids(tmp_path) == (2,)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 2]}')
    assert eos_ids(tmp_path) == (2, 7)
    assert spec(eos_ids=(2, 7)).ends(frozenset({9})) == {2, 7}, "the registry's word goes before an engine's"
    assert spec().ends(frozenset({9})) == {9}


@pytest.mark.parametrize(("text", "size"), [
    ('{"vocab_size": 512}', 512), ('{"text_config": {"vocab_size": 7}}', 7), ("{}", 0), ("[]", 0), ("", 0),
])
def test_a_models_folder_says_how_many_ids_there_are(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "config.json").write_text(text)
    if size:
        assert vocabulary_size(tmp_path) == size
        return
    with pytest.raises(ConfigError):
        vocabulary_size(tmp_path)
