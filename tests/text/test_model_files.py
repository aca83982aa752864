"""What a model's folder says, in every form in which folders say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_TEMPLATE
from p2p.text.model_files import describe, read_model_text
from p2p.text.model_text import NO_TEMPLATE, template_hash
from tests.text.families import SMOLLM, added, folder, table

CONFIG = {"vocab_size": 258, "max_position_embeddings": 4096, "eos_token_id": 257}


def model(path: Path, **files: Any) -> Path:
    """A folder. files: name without .json -> its content."""
    for name, content in {"config": CONFIG, "tokenizer": table(), **files}.items():
        if name == "template":
            (path / "chat_template.jinja").write_bytes(content)
        elif content is not None:
            (path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_small_folder(tmp_path: Path) -> None:
    facts = describe(model(tmp_path))
    assert (facts.eos_ids, facts.vocabulary, facts.context_tokens, facts.sliding_window) == ((257,), 258, 4096, 0)
    assert (facts.template, facts.template_tokens, facts.tool_format) == (None, (), "")
    assert facts.text.template_hash == NO_TEMPLATE


def test_end_tokens_are_gathered_from_every_file(tmp_path: Path) -> None:
    facts = describe(model(
        tmp_path, config={"text_config": {"vocab_size": 300, "max_position_embeddings": 8, "eos_token_id": 5,
                                          "sliding_window": 512}, "eos_token_id": None},
        generation_config={"eos_token_id": [1, 2, True, "3", -1, 2**40]},
        tokenizer_config={"eos_token": {"content": "</s>", "special": True}, "bos_token": "<s>", "pad_token": None},
        special_tokens_map={"unk_token": "<s>", "bos_token": "no"},
    ))
    assert facts.eos_ids == (1, 2, 5, 257)
    assert (facts.vocabulary, facts.context_tokens, facts.sliding_window) == (300, 8, 512)
    assert dict(facts.template_tokens) == {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<s>"}


@pytest.mark.parametrize("files", [
    {"template": b"a{{ bos_token }}\r\n<tool_call>"},
    {"tokenizer_config": {"chat_template": "a{{ bos_token }}\r\n<tool_call>"}},
    {"tokenizer_config": {"chat_template": [{"name": "rag", "template": "x"},
                                            {"name": "default", "template": "a{{ bos_token }}\r\n<tool_call>"}]}},
    {"chat_template": {"chat_template": "a{{ bos_token }}\r\n<tool_call>"}},
])
def test_the_template_is_found_where_it_is(tmp_path: Path, files: dict[str, Any]) -> None:
    facts = describe(model(tmp_path, **files))
    assert facts.template == "a{{ bos_token }}\r\n<tool_call>", "to the letter, for its hash is in the registry"
    assert facts.text.template_hash == template_hash(facts.template) == read_model_text(tmp_path).template_hash
    assert facts.tool_format == "hermes"


def test_the_markers_of_the_guessed_format_are_text(tmp_path: Path) -> None:
    facts = describe(model(tmp_path, template=b"[TOOL_CALLS] [", tokenizer=table(more=(added("[TOOL_CALLS]", 258),))))
    assert facts.text.vocabulary.text([258]) == "[TOOL_CALLS]"
    assert read_model_text(tmp_path).vocabulary.text([258]) == ""
    assert read_model_text(tmp_path, tool_format="mistral").vocabulary.text([258]) == "[TOOL_CALLS]"


@pytest.mark.parametrize(("files", "field", "word"), [
    ({"config": None}, "model_path", "config.json is missing"),
    ({"tokenizer": None}, "model_path", "tokenizer.json is missing"),
    ({"config": "{"}, "model_path", "no JSON"),
    ({"config": "[1]"}, "model_path", "no JSON object"),
    ({"config": "[" * 100_000}, "model_path", "nested"),
    ({"config": {"vocab_size": 5}}, "model_path", "how long a context"),
    ({"config": {**CONFIG, "vocab_size": 0}}, "model_path", "how large the vocabulary"),
    ({"config": {**CONFIG, "vocab_size": True}}, "model_path", "how large the vocabulary"),
    ({"config": {**CONFIG, "vocab_size": 1 << 30}}, "model_path", "at most"),
    ({"config": {**CONFIG, "eos_token_id": list(range(50))}}, "eos_ids", "50 end tokens"),
    ({"tokenizer": "{}"}, "tokenizer", "tokenizer.json"),
    ({"template": b"\xff"}, "template", "UTF-8"),
    ({"template": b"{% if %}"}, "template", "not a chat template"),
    ({"template": b"x" * (MAX_TEMPLATE + 1)}, "model_path", "larger"),
    ({"tokenizer_config": {"bos_token": "x" * 200}}, "template_tokens", "bos_token"),
])
def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path, files: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        describe(model(tmp_path, **files))
    assert caught.value.field == field
    assert word in caught.value.message


def test_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "\0"):
        with pytest.raises(ConfigError):
            describe(path)


def test_the_prepared_model() -> None:
    facts = describe(folder(SMOLLM))
    assert (facts.eos_ids, facts.vocabulary, facts.context_tokens, facts.tool_format) == ((2,), 49152, 8192, "")
    assert dict(facts.template_tokens)["eos_token"] == "<|im_end|>"
    assert facts.text.has_template
