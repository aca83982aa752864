"""Text to token ids, by a model's tokenizer.json.

Law: a control token arises only where the caller's text has its words whole, and never from text that a sign breaks.

The tokenizer that runs here is the model's own, but knows each control token by a secret word instead of its own one.
Control tokens that are meant are replaced by these words; everything else, signs taken out, is one text that it
tokenizes as the model's own would, with all its rules about what stands beside what.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from p2p.base.errors import ConfigError, InvalidRequest
from p2p.text.controls import Controls, any_of

_EDGE = "\U000f0000"  # begins and ends a secret word
_MARKED = re.compile(f"{_EDGE}[0-9a-f]{{16}}{_EDGE}")


class Tokens:
    """One model's tokenizer. Safe in threads. Raises ConfigError for bytes that are no supported tokenizer.json."""

    def __init__(self, raw: bytes) -> None:
        try:
            table = json.loads(raw)
            added = [_Added.of(row) for row in table.get("added_tokens") or ()]
            special = [one for one in added if one.special]
            if any(len(one.word) < 2 or one.single_word for one in special):
                raise ConfigError("a special token of one character, or of single_word, is not supported",
                                  field="tokenizer")
            plain = _tokenizer(raw.decode())
            if wrong := [one.word for one in added if plain.token_to_id(one.word) != one.id]:
                raise ConfigError(f"token {wrong[0]!r} has another id than the file says", field="tokenizer")
            self._around = _around(plain)
            self._secrets = {one.word: f"{_EDGE}{secrets.token_hex(8)}{_EDGE}" for one in special}
            for row in table.get("added_tokens") or ():
                row["content"] = self._secrets.get(row["content"], row["content"])
            self._tokenizer = _tokenizer(json.dumps(table))
            self._ids = {self._tokenizer.token_to_id(self._secrets.get(one.word, one.word)): one.id for one in added}
            if _model_ids(table) & {at for at, own in self._ids.items() if at != own}:
                raise ConfigError("the ids of the tokenizer have gaps where special tokens belong", field="tokenizer")
            unknown = table["model"].get("unk_token")
        except ConfigError:
            raise
        except Exception as error:  # the library raises a plain Exception for what it cannot read
            raise ConfigError(
                f"not a tokenizer.json of a supported form: {type(error).__name__} {error}"[:200], field="tokenizer"
            ) from error
        self.controls = Controls(one.word for one in special)
        self._meant = {self._secrets[one.word]: one.id for one in special}
        self._watched = frozenset(one.id for one in special if one.word != unknown)
        # The library looks for these first, then for those that its normalizer may touch.
        self._finders = [finder for finder in (
            _finder(one.word for one in added if not one.normalized),
            _finder(one.word for one in special if one.normalized),
        ) if finder is not None]

    def plain(self, text: str) -> tuple[int, ...]:
        """`text` as nothing but text: no control token. Raises InvalidRequest where the tokenizer cannot."""
        return self._encode(text, [])

    def completion(self, text: str) -> tuple[int, ...]:
        """`text` as a whole prompt: control tokens in it are meant, and the tokenizer's own beginning and end are
        added."""
        text, found = self._with_secrets(text)
        before, after = self._around
        return (*before, *self._encode(text, found), *after)

    def rendered(self, text: str, signs: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A template's text with `signs` in it as (token ids, control tokens that are the template's own).

        Raises InvalidRequest where foreign text becomes a control token all the same.
        """
        text, found = self._with_secrets(text)
        return self._encode(text.translate(dict.fromkeys(map(ord, signs))), found), tuple(found)

    def control_tokens(self, text: str) -> tuple[int, ...]:
        """The ids of the control tokens whose words are whole in `text`."""
        return tuple(self._with_secrets(text)[1])

    def _with_secrets(self, text: str) -> tuple[str, list[int]]:
        """`text` with the secret word of each control token in it, and these tokens' ids in order."""
        for finder in self._finders:
            text = finder.sub(lambda at: self._secrets.get(at[0], at[0]), text)
        return text, [self._meant[word] for word in _MARKED.findall(text) if word in self._meant]

    def _encode(self, text: str, controls: Sequence[int]) -> tuple[int, ...]:
        try:
            encoded = self._tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError) as error:
            raise InvalidRequest("half a character is no text; leave it out", field="messages") from error
        ids = tuple(self._ids.get(at, at) for at in encoded)
        if [at for at in ids if at in self._watched] != [at for at in controls if at in self._watched]:
            raise InvalidRequest(
                "a part of the text can only be written as one of the model's control tokens; leave it out",
                field="messages",
            )
        return ids


@dataclass(frozen=True, slots=True)
class _Added:
    """A token that the tokenizer looks for before anything else."""

    word: str
    id: int
    special: bool
    normalized: bool
    single_word: bool

    @classmethod
    def of(cls, row: dict[str, Any]) -> _Added:
        flags = (bool(row.get(name)) for name in ("special", "normalized", "single_word"))
        return cls(str(row["content"]), int(row["id"]), *flags)


def _tokenizer(text: str) -> Tokenizer:
    made = Tokenizer.from_str(text)
    made.no_truncation()
    made.no_padding()
    return made


def _around(plain: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer itself puts before and after a text."""
    bare, whole = plain.encode("a", add_special_tokens=False).ids, plain.encode("a", add_special_tokens=True).ids
    for at in range(len(whole) - len(bare) + 1):
        if whole[at : at + len(bare)] == bare:
            return tuple(whole[:at]), tuple(whole[at + len(bare) :])
    raise ConfigError("the tokenizer's post-processor changes more than the ends of a text", field="tokenizer")


def _model_ids(table: dict[str, Any]) -> set[int]:
    vocab = table["model"]["vocab"]
    return set(vocab.values()) if isinstance(vocab, dict) else set(range(len(vocab)))


def _finder(words: Iterable[str]) -> re.Pattern[str] | None:
    known = [word for word in words if word]
    return re.compile(any_of(known)) if known else None
