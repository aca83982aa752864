"""A model's text: what tokens a request's body is, by the model's own tokenizer and chat template.

Law: a function of the body and of two files that the registry names by hash, so client, agent, executor and validator
make the same tokens, and no server is asked. Text of others never becomes a control token (controls.py, tokens.py).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from typing import Any

from jinja2 import Template

from p2p.base.body import Body, Chat, TextPrompt, TokenPrompt
from p2p.base.codec import encode
from p2p.base.errors import ConfigError, InvalidRequest
from p2p.base.json_text import read_object
from p2p.base.serving_limits import MAX_KEPT_PROMPTS, MAX_TEMPLATE, MAX_TEMPLATE_TOKENS, MAX_TOKENIZER
from p2p.base.token_ids import pack_ids, unpack_ids
from p2p.text.controls import free_signs
from p2p.text.conversation import Mark, variables
from p2p.text.sandbox import Refused
from p2p.text.template import compiled, render
from p2p.text.today import ARGUMENT, DAY, read_day
from p2p.text.tokens import Tokens
from p2p.text.tool_formats.formats import markers
from p2p.text.vocabulary import Vocabulary, parse_vocabulary

NO_TEMPLATE = bytes(32)  # the template hash of a model that has none
_SAID = 200  # characters of a template's own words in an error


@dataclass(frozen=True, slots=True, eq=False)
class ModelText:
    """One model's text. Safe in threads; long prompts take up to a second, so call it in one."""

    vocabulary: Vocabulary = field(repr=False)
    tokenizer_hash: bytes  # SHA-256 of tokenizer.json
    template_hash: bytes  # SHA-256 of the chat template's text; NO_TEMPLATE: there is none
    tokenizer: bytes = field(repr=False)  # tokenizer.json
    _tokens: Tokens = field(repr=False)
    _source: str = field(repr=False, default="")
    _template: Template | None = field(repr=False, default=None)
    _template_tokens: Mapping[str, str] = field(repr=False, default_factory=dict)
    _kept: _Kept = field(repr=False, default_factory=lambda: _Kept())

    @property
    def template(self) -> bytes:
        """The chat template's text as bytes, whose hash is `template_hash`; empty: there is none."""
        return self._source.encode() if self.has_template else b""

    @property
    def has_template(self) -> bool:
        """Whether the model takes conversations."""
        return self._template is not None

    def prompt(self, body: Body) -> tuple[int, ...]:
        """The token ids of what is asked, without those of `body.begun`.

        A conversation goes through the chat template. A text is tokenized with the tokenizer's own beginning, and
        control tokens in it are meant: it is a whole prompt. Token ids stay as they are. Raises
        InvalidRequest(field='messages' | 'prompt' | 'template_args' | 'continues' | 'tools[0].parameters').
        """
        key = hashlib.sha256(encode(body.prompt)).digest()
        kept = self._kept.get(key)
        if kept is None:
            kept = self._prompt(body.prompt)
            self._kept.put(key, kept)
        return kept

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of `text` by itself: nothing is added, and no control token is in it."""
        return self._tokens.plain(text)

    def _prompt(self, prompt: Chat | TextPrompt | TokenPrompt) -> tuple[int, ...]:
        if isinstance(prompt, TextPrompt):
            ids = self._tokens.completion(prompt.text)
        elif isinstance(prompt, TokenPrompt):
            ids = prompt.tokens
        else:
            ids = self._chat(prompt)
        if not ids:
            raise InvalidRequest("the prompt has no tokens; ask something", field="prompt")
        if max(ids) >= (many := len(self.vocabulary.pieces)):
            raise InvalidRequest(f"token {max(ids)} is not in the vocabulary: ids are below {many}", field="prompt")
        return ids

    def _chat(self, chat: Chat) -> tuple[int, ...]:
        if self._template is None:
            raise InvalidRequest("this model has no chat template and takes completions only: send a text or token ids",
                                 field="messages")
        texts: list[str] = []

        def collect(text: str) -> str:
            texts.append(text)
            return text

        variables(chat, collect, self._template_tokens)
        sign, tag = free_signs([*texts, self._source], 2)
        controls = self._tokens.controls
        written = self._written(chat, lambda text: controls.broken(text, sign), sign, tag)
        ids, own = self._tokens.rendered(written, sign + tag)
        # Again, with the foreign text in so many pieces that no control token has a part of it. Where the template then
        # writes others, it has made them of foreign text.
        if controls.is_near(texts):
            strict = self._written(chat, lambda text: controls.shattered(text, sign), sign, tag)
            if self._tokens.control_tokens(strict) != own:
                raise InvalidRequest(
                    "the chat template would make control tokens of the text; write it in another way", field="messages"
                )
        return ids

    def _written(self, chat: Chat, mark: Mark, sign: str, tag: str) -> str:
        """What the template writes of a conversation whose foreign texts are marked."""
        assert self._template is not None
        named = variables(chat, mark, self._template_tokens)
        last = named["messages"][-1]["content"]
        if chat.continues:
            named["messages"][-1]["content"] = f"{last}{tag} "
        text = _rendered(self._template, named, _day(chat), sign + tag)
        return _without_end(text, last, tag) if chat.continues else text


def load_model_text(
    tokenizer: bytes, template: str | None, template_tokens: Mapping[str, str], *, tool_format: str = ""
) -> ModelText:
    """tokenizer: the bytes of tokenizer.json. template: the chat template's text; None: there is none. template_tokens:
    the special tokens that it may name, such as {"bos_token": "<s>"}. tool_format: of the registry; its markers show in
    the text even where they are special tokens. Raises ConfigError(field='tokenizer' | 'template' | 'tool_format')."""
    if len(tokenizer) > MAX_TOKENIZER:
        raise ConfigError(f"larger than {MAX_TOKENIZER} bytes: it is no tokenizer.json", field="tokenizer")
    if len(template_tokens) > MAX_TEMPLATE_TOKENS:
        raise ConfigError(f"a template may name {MAX_TEMPLATE_TOKENS} tokens", field="template_tokens")
    if template is not None and len(template) > MAX_TEMPLATE:
        raise ConfigError(f"a chat template has at most {MAX_TEMPLATE} characters", field="template")
    return ModelText(
        parse_vocabulary(tokenizer, markers(tool_format)), hashlib.sha256(tokenizer).digest(), template_hash(template),
        tokenizer, Tokens(tokenizer), template or "", None if template is None else compiled(template),
        dict(template_tokens),
    )


def template_hash(template: str | None) -> bytes:
    """SHA-256 of a chat template's text; NO_TEMPLATE where there is none."""
    return NO_TEMPLATE if template is None else hashlib.sha256(template.encode()).digest()


def _day(chat: Chat) -> date:
    named = read_object(chat.template_args, "template_args").get(ARGUMENT)
    try:
        return DAY if named is None else read_day(named)
    except ValueError as error:
        raise InvalidRequest(f"{ARGUMENT}: {error}"[:_SAID], field="template_args") from error


def _rendered(template: Template, named: Mapping[str, Any], day: date, signs: str) -> str:
    try:
        return render(template, named, day)
    except Refused as error:
        raise InvalidRequest(f"the chat template refuses: {_clean(error, signs)}", field="messages") from error
    except Exception as error:  # a stranger's program, which may fail in any way
        said = f"{type(error).__name__} {_clean(error, signs)}"
        raise InvalidRequest(f"the chat template cannot write this conversation: {said}", field="messages") from error


def _clean(error: Exception, signs: str) -> str:
    """A template's own words on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in str(error)[:_SAID] if letter not in signs)


def _without_end(text: str, last: str, tag: str) -> str:
    """`text` up to the end of the last message, as transformers cuts it. A template that strips messages strips this
    one too, and what it continues then ends without blanks."""
    at = text.rfind(tag)
    if at < 0 or last.strip() not in text:
        raise InvalidRequest("the chat template does not write the last message, so it cannot be continued",
                             field="continues")
    return text[:at] if text.startswith(f"{tag} ", at) else text[:at].rstrip()


class _Kept:
    """The newest prompts' tokens, packed."""

    def __init__(self) -> None:
        self._lock, self._packed = Lock(), OrderedDict[bytes, bytes]()

    def get(self, key: bytes) -> tuple[int, ...] | None:
        with self._lock:
            packed = self._packed.get(key)
            if packed is None:
                return None
            self._packed.move_to_end(key)
        return unpack_ids(packed)

    def put(self, key: bytes, tokens: Sequence[int]) -> None:
        with self._lock:
            self._packed[key] = pack_ids(tokens)
            if len(self._packed) > MAX_KEPT_PROMPTS:
                self._packed.popitem(last=False)
