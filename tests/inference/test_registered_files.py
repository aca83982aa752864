"""What the registry says of a model's tokenizer and stacks binds who serves it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from p2p.errors import ConfigError
from p2p.genesis import ModelSpec
from p2p.inference.executor import Executor
from p2p.inference.model import check_tokenizer, tokenizer_hash
from p2p.keys import Key

RIGHT = hashlib.sha256(b"{}").digest()


def spec(**change: Any) -> ModelSpec:
    return ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 1, 2048, **change)


def executor(**change: Any) -> Executor:
    return Executor(Key(bytes(32)), *(cast(Any, None),) * 3, frozenset(), **change)


def test_another_tokenizer_than_the_registrys_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        tokenizer_hash(tmp_path)
    assert caught.value.field == "model_path"
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    found = tokenizer_hash(tmp_path)
    assert found == RIGHT
    check_tokenizer(found, spec(tokenizer_hash=RIGHT))
    check_tokenizer(found, spec())  # the registry names none
    with pytest.raises(ConfigError) as caught:
        check_tokenizer(found, spec(tokenizer_hash=b"\x01" * 32))
    assert caught.value.field == "tokenizer_hash"


@pytest.mark.parametrize(("wanted", "tokenizer", "stack", "words"), [
    ({}, RIGHT, "torch-cpu-bf16", ""), ({"tokenizer_hash": RIGHT}, RIGHT, "torch-cpu-bf16", ""),
    ({"tokenizer_hash": bytes([1]) * 32}, RIGHT, "torch-cpu-bf16", "tokenizer"), ({"tokenizer_hash": bytes([1]) * 32}, None, "torch-cpu-bf16", ""),
    ({"stacks": ("torch-cpu-bf16",)}, RIGHT, "torch-cpu-bf16", ""), ({"stacks": ("vllm-cpu-bf16",)}, RIGHT, "torch-cpu-bf16", "may not be served"),
])
def test_an_executor_serves_a_model_only_as_the_registry_describes_it(
    wanted: dict[str, Any], tokenizer: bytes | None, stack: str, words: str
) -> None:
    found = executor(tokenizer_hash=tokenizer, stack=stack)._unfit(spec(**wanted))
    assert (words in found) if words else found == ""
