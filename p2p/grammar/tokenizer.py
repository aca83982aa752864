"""A model's tokens as a grammar sees them. Law: bytes decide; a special token is none, an end token ends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from llguidance import LLTokenizer

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_VOCABULARY
from p2p.text.vocabulary import parse_vocabulary

_MOST_KEPT = 4  # tokenizers, each with some MiB
_MARK = b"\xff"  # by this first byte llguidance knows special tokens; no text has it


class _Tokens:
    """What llguidance reads the tokens from. It is never asked to tokenize (source.py)."""

    is_tokenizer_wrapper = True
    eos_token_id = None  # llguidance then adds an id beyond the vocabulary, and ends are ours alone
    bos_token_id = None

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens, self.special_token_ids = tokens, list[int]()

    def __call__(self, text: str) -> list[int]:
        raise NotImplementedError(text)


class GrammarTokenizer:
    """The tokens of one model."""

    def __init__(self, pieces: Sequence[bytes], ends: frozenset[int], vocabulary: int) -> None:
        """pieces: the bytes of token i, as the text of an answer is made of them; b"" for special ones. ends: ids that
        end an answer. vocabulary: how many ids the model has, 0: as many as the tokenizer; those beyond `pieces` are
        allowed nowhere. Raises InvalidRequest(field='grammar') where the model has no end tokens."""
        if not ends:
            raise InvalidRequest("this model names no end token, so an answer by a grammar cannot end", field="grammar")
        vocabulary = vocabulary or max(len(pieces), max(ends) + 1)
        if not max(ends) < vocabulary <= MAX_VOCABULARY:
            raise InvalidRequest(
                f"a vocabulary has at most {MAX_VOCABULARY} tokens, end tokens included", field="grammar"
            )
        tokens = [piece if piece[:1] != _MARK else b"" for piece in pieces[:vocabulary]]
        tokens += [b""] * (vocabulary - len(tokens))
        for end in ends:
            tokens[end] = b""
        self.vocabulary, self.ends = vocabulary, ends
        self.end_ids = np.array(sorted(ends), dtype=np.int64)
        self.texts = np.array([bool(token) for token in tokens], dtype=np.bool_)  # which ids have text
        self.tokens = LLTokenizer(_Tokens(tokens))  # type: ignore[arg-type]  # its class asks for more than it uses

    @staticmethod
    def from_json(tokenizer_json: bytes, ends: frozenset[int], vocabulary: int) -> GrammarTokenizer:
        """As the constructor, of the model's tokenizer.json; 0.4 s for 50,000 tokens. The last few are kept. Raises
        ConfigError for a file of an unknown form, InvalidRequest as the constructor does."""
        key = tokenizer_json, ends, vocabulary  # Python hashes the same bytes object once only
        with _lock:
            if key not in _kept:
                _kept[key] = GrammarTokenizer(parse_vocabulary(tokenizer_json).pieces, ends, vocabulary)
                while len(_kept) > _MOST_KEPT:
                    _kept.popitem(last=False)
            _kept.move_to_end(key)
            return _kept[key]


_kept: OrderedDict[tuple[bytes, frozenset[int], int], GrammarTokenizer] = OrderedDict()
_lock = threading.Lock()
