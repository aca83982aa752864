"""Model families for the tests: SmolLM2 and Gemma 3, whose files `make test` prepares, and small ones made here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from p2p.base.body import Body, Chat, ChatMessage, Role
from p2p.inference.stack.gemma import NAME as GEMMA
from p2p.inference.stack.model import MODEL_NAME as SMOLLM
from p2p.inference.stack.model import cache_root
from p2p.text.model_text import ModelText, load_model_text

CHATML = """\
{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

# What templates of models do to messages: strip, split, look into them, dump them as JSON, refuse.
BUSY = """\
{%- macro turn(role, text) -%}
<|im_start|>{{ role }}
{{ text | trim }}<|im_end|>
{% endmacro -%}
{%- set ns = namespace(last=-1, system='') -%}
{%- if messages[0].role == 'system' -%}
  {%- set ns.system = messages[0].content.strip() -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set rest = messages -%}{%- endif -%}
{%- for message in rest[::-1] -%}
  {%- if message.role == 'user' and ns.last < 0 -%}{%- set ns.last = rest | length - 1 - loop.index0 -%}{%- endif -%}
{%- endfor -%}
{{- turn('system', ns.system ~ '\n' ~ strftime_now('%d %b %Y')) -}}
{%- if tools is not none -%}
  {%- generation -%}
  {%- for tool in tools -%}
{{ tool.function.name }}: {{ tool | tojson(indent=2) }}
  {%- for name, value in tool.function.parameters.properties.items() -%}- {{ name }} {{ value }}
  {%- endfor -%}
  {%- endfor -%}
  {%- endgeneration -%}
{%- endif -%}
{%- for message in rest -%}
  {%- if message.role == 'assistant' -%}
    {%- set content = message.content -%}
    {%- if '</think>' in content -%}
      {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') -%}
      {%- set content = content.split('</think>')[-1].lstrip('\n') -%}
      {%- if loop.index0 > ns.last -%}
        {%- set content = '<think>\n' + thought + '\n</think>\n' + content -%}
      {%- endif -%}
    {%- endif -%}
    {{- turn('assistant', content) -}}
    {%- for call in message.tool_calls or [] -%}
      {%- if call.function.arguments is mapping -%}
        {{- call.id }} {{ call.function.name }}({{ call.function.arguments | tojson }})
      {%- else -%}{{ call.function.name ~ '?' ~ call.function.arguments }}{%- endif -%}
      {%- if not loop.last %}, {% endif -%}
    {%- endfor -%}
  {%- elif message.role == 'tool' -%}
    {{- turn('tool', message.tool_call_id ~ ': ' ~ message.content | upper | replace('X', 'Y')) -}}
  {%- elif message.content == 'refuse' -%}{{ raise_exception('no such talk') }}
  {%- else -%}{{ turn(message.role, (message.name ~ ': ' if message.name else '') ~ message.content) }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if not (enable_thinking | default(true)) %}<think>

</think>
{% endif %}{%- endif -%}"""

GEMMA_CHAT = """\
{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else
message.role) + '\n' + message.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt
%}<start_of_turn>model
{% endif %}"""


def folder(name: str) -> Path:
    """A prepared model's folder; skips the test without it."""
    found = cache_root() / name
    if not (found / "tokenizer.json").exists():
        pytest.skip(f"{found} is not prepared; make test does it")
    return found


@cache
def smollm(template: str | None = CHATML) -> ModelText:
    tokens = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    return load_model_text((folder(SMOLLM) / "tokenizer.json").read_bytes(), template, tokens)


@cache
def gemma() -> ModelText:
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>"}
    return load_model_text((folder(GEMMA) / "tokenizer.json").read_bytes(), GEMMA_CHAT, tokens)


def added(word: str, at: int, *, special: bool = True, **flags: bool) -> dict[str, Any]:
    return {
        "id": at, "content": word, "special": special, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, **flags,
    }


def table(
    *, pre_tokenizer: Any = None, normalizer: Any = None, post_processor: Any = None, words: int = 0,
    more: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """A byte-level tokenizer without merges: 256 tokens of a byte, then <s> and </s>, which the model does not know."""
    from p2p.text.vocabulary import _BYTES

    vocab = {letter: at for at, letter in enumerate(_BYTES)}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added("<s>", 256), added("</s>", 257), *more], "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer or {
            "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
        },
        "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False},
    }


def small(template: str | None = None, tool_format: str = "", **kinds: Any) -> ModelText:
    return load_model_text(json.dumps(table(**kinds)).encode(), template, {"bos_token": "<s>"}, tool_format=tool_format)


def said(*texts: str, **chat: Any) -> Body:
    """A conversation in which user and assistant take turns."""
    turns = (Role.USER, Role.ASSISTANT)
    return Body(Chat(tuple(ChatMessage(turns[at % 2], text) for at, text in enumerate(texts)), **chat))
