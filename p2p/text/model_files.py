"""What a model's folder says about its text, for the registry and for whoever serves it.

Law: a function of the files; each is bounded before it is read, and none is believed further than its form goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.base.json_text import read_json
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import (
    MAX_EOS_IDS,
    MAX_MODEL_CONFIG,
    MAX_TEMPLATE,
    MAX_TEMPLATE_TOKENS,
    MAX_TOKENIZER,
    MAX_VOCABULARY,
)
from p2p.text.model_text import ModelText, load_model_text
from p2p.text.tool_formats.formats import guess

# The special tokens that templates know by name.
TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a folder says, in the words of the registry (base/genesis.ModelSpec)."""

    text: ModelText  # with the hashes of tokenizer and template
    template: str | None  # the chat template's text
    template_tokens: tuple[tuple[str, str], ...]
    tool_format: str  # guessed from the template; "": none that is known
    eos_ids: tuple[int, ...]  # every token id that ends an answer, ascending; (): the files name none
    vocabulary: int  # rows of the model's output layer: token ids are below it
    context_tokens: int  # prompt and output together
    sliding_window: int  # tokens that layers with a sliding window look back; 0: there are none. The context is longer


def describe(folder: Path) -> ModelFacts:
    """Raises ConfigError that names the file where one is missing, too large or says nonsense."""
    config = _parts(_read(folder / "config.json", needed=True))
    template, tokens = _template(folder), _template_tokens(folder)
    tool_format = guess(template or "")
    return ModelFacts(
        load_model_text(_tokenizer(folder), template, dict(tokens), tool_format=tool_format),
        template, tokens, tool_format, _eos_ids(folder, config, dict(tokens)),
        _number(config, ("vocab_size",), "how large the vocabulary is", MAX_VOCABULARY),
        _number(config, _CONTEXT, "how long a context may be", (1 << 32) - 1),
        _sliding_window(config),
    )


def read_model_text(folder: Path, *, tool_format: str = "") -> ModelText:
    """The text of the model whose tokenizer.json, chat template and special tokens are in `folder`. tool_format: of the
    registry. Raises ConfigError."""
    return load_model_text(
        _tokenizer(folder), _template(folder), dict(_template_tokens(folder)), tool_format=tool_format
    )


def _eos_ids(folder: Path, config: list[Mapping[str, Any]], tokens: Mapping[str, str]) -> tuple[int, ...]:
    """Those of the generation settings, of the model and of the tokenizer: engines end at any of them."""
    found: set[Any] = set()
    for part in (_read(folder / "generation_config.json"), *config):
        value = part.get("eos_token_id")
        found |= {one for one in (value if isinstance(value, list) else [value]) if _is_id(one)}
    if "eos_token" in tokens:
        for row in json.loads(_tokenizer(folder)).get("added_tokens") or ():
            if row.get("content") == tokens["eos_token"] and _is_id(row.get("id")):
                found.add(row["id"])
    if len(found) > MAX_EOS_IDS:
        raise ConfigError(f"{folder} names {len(found)} end tokens, at most {MAX_EOS_IDS} are allowed", field="eos_ids")
    return tuple(sorted(found))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_VOCABULARY


def _sliding_window(config: list[Mapping[str, Any]]) -> int:
    sizes = [part["sliding_window"] for part in config
             if isinstance(part.get("sliding_window"), int) and part.get("use_sliding_window", True)]
    return int(min(sizes, default=0))


def _number(config: list[Mapping[str, Any]], names: tuple[str, ...], what: str, most: int) -> int:
    for part in config:
        for name in names:
            value = part.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                if value > most:
                    raise ConfigError(f"config.json: {name} is {value}, at most {most} is allowed", field="model_path")
                return value
    raise ConfigError(f"config.json does not say {what}: it has none of {', '.join(names)}", field="model_path")


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The settings of a model of text alone, and those inside a model that also sees or hears."""
    nested = (config.get(name) for name in ("text_config", "llm_config", "language_config"))
    return [config, *(part for part in nested if isinstance(part, dict))]


def _tokenizer(folder: Path) -> bytes:
    return _bytes(folder / "tokenizer.json", MAX_TOKENIZER, needed=True)


def _template(folder: Path) -> str | None:
    """From chat_template.jinja, else from the JSON files that older versions of Hugging Face's tools write."""
    raw = _bytes(folder / "chat_template.jinja", MAX_TEMPLATE)
    if raw:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{folder / 'chat_template.jinja'} is not UTF-8", field="template") from error
    for name in ("tokenizer_config.json", "chat_template.json"):
        found = _read(folder / name).get("chat_template")
        if isinstance(found, list):  # several with names
            found = next((row.get("template") for row in found if isinstance(row, dict)
                          and row.get("name") == "default"), None)
        if isinstance(found, str):
            return found
    return None


def _template_tokens(folder: Path) -> tuple[tuple[str, str], ...]:
    """(name, token) of each special token that the template may name."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one wins
        found |= dict(_words(_read(folder / name)))
    if len(found) > MAX_TEMPLATE_TOKENS:
        raise ConfigError(f"{folder} names more than {MAX_TEMPLATE_TOKENS} special tokens", field="template_tokens")
    return tuple(found.items())


def _words(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in TOKEN_NAMES:
        value = table.get(name)
        word = value.get("content") if isinstance(value, dict) else value
        if isinstance(word, str):
            if len(word) > MAX_NAME:
                raise ConfigError(f"{name} has {len(word)} characters, at most {MAX_NAME} are allowed",
                                  field="template_tokens")
            yield name, word


def _read(file: Path, *, needed: bool = False) -> Mapping[str, Any]:
    """The object in a JSON file; an empty one where there is no file."""
    raw = _bytes(file, MAX_MODEL_CONFIG, needed=needed)
    if not raw:
        return {}
    try:
        value = read_json(raw.decode())
    except ValueError as error:
        raise ConfigError(f"{file} is no JSON: {error}"[:200], field="model_path") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file} is no JSON object", field="model_path")
    return value


def _bytes(file: Path, most: int, *, needed: bool = False) -> bytes:
    try:
        if file.stat().st_size > most:
            raise ConfigError(f"{file} is larger than {most} bytes", field="model_path")
        return file.read_bytes()
    except FileNotFoundError as error:
        if not needed:
            return b""
        raise ConfigError(f"{file} is missing; give the folder of a model in Hugging Face's form", field="model_path"
                          ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error}"[:200], field="model_path") from error
