"""What the registry says of a model's tokenizer and stacks binds who serves it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from p2p.base.errors import ConfigError
from p2p.base.genesis import ModelSpec
from p2p.inference.stack.model import check_text, eos_ids, read_tokenizer, vocabulary_size
from p2p.peer.ready_engine import ReadyEngine
from p2p.text.model_text import ModelText
from p2p.text.vocabulary import Vocabulary

RIGHT = hashlib.sha256(b"{}").digest()


def spec(**change: Any) -> ModelSpec:
    return ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 1, 2048, **change)


def text(tokenizer: bytes, template: bytes = bytes(32)) -> ModelText:
    """Files with these hashes, and nothing in them."""
    nothing = cast(Any, None)
    return ModelText(Vocabulary(()), tokenizer, template, b"", nothing)


def engine(stack: str, tokenizer: bytes | None) -> ReadyEngine:
    nothing = cast(Any, None)
    return ReadyEngine(nothing, nothing, frozenset(), stack, text(tokenizer) if tokenizer else None)


def test_other_files_than_the_registrys_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tokenizer(tmp_path)
    assert caught.value.field == "tokenizer"
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    assert read_tokenizer(tmp_path) == read_tokenizer(tmp_path / "tokenizer.json")
    assert hashlib.sha256(read_tokenizer(tmp_path)).digest() == RIGHT
    check_text(text(RIGHT), spec(tokenizer_hash=RIGHT))
    check_text(text(RIGHT), spec())  # the registry names none
    with pytest.raises(ConfigError) as caught:
        check_text(text(RIGHT), spec(tokenizer_hash=b"\x01" * 32))
    assert caught.value.field == "tokenizer_hash"
    named = replace(spec(tokenizer_hash=RIGHT), template_hash=b"\x02" * 32)
    check_text(text(RIGHT, b"\x02" * 32), named)
    with pytest.raises(ConfigError) as caught:
        check_text(text(RIGHT, b"\x03" * 32), named)
    assert caught.value.field == "template_hash"


@pytest.mark.parametrize(("wanted", "tokenizer", "stack", "words"), [
    ({}, RIGHT, "torch-cpu-bf16", ""), ({"tokenizer_hash": RIGHT}, RIGHT, "torch-cpu-bf16", ""),
    ({"tokenizer_hash": bytes([1]) * 32}, RIGHT, "torch-cpu-bf16", "tokenizer"),
    ({"stacks": ("torch-cpu-bf16",)}, RIGHT, "torch-cpu-bf16", ""),
    ({"stacks": ("vllm-cpu-bf16",)}, RIGHT, "torch-cpu-bf16", "may not be served"),
])
def test_an_executor_serves_a_model_only_as_the_registry_describes_it(
    wanted: dict[str, Any], tokenizer: bytes | None, stack: str, words: str
) -> None:
    found = engine(stack, tokenizer).unfit_for(spec(**wanted))
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
