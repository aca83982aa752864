"""A model's tokens as a grammar sees them. Law: bytes decide; a special token is none, an end token ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from llguidance import LLTokenizer

from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_VOCABULARY

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
    """The tokens of one model: made by `of`."""

    def __init__(self, pieces: Sequence[bytes], ends: frozenset[int], vocabulary: int) -> None:
        if not ends:
            raise InvalidRequest("this model names no end token, so an answer by a grammar cannot end", field="grammar")
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
    def of(pieces: tuple[bytes, ...], ends: frozenset[int], vocabulary: int) -> GrammarTokenizer:
        """The tokenizer whose token i has the bytes pieces[i], as the text of an answer is made of them (Vocabulary of
        the model's tokenizer.json); b"" for special ones. ends: ids that end an answer. vocabulary: how many ids the
        model has; those beyond `pieces` are allowed nowhere. The last few are kept. Raises
        InvalidRequest(field='grammar') where the model has no end tokens."""
        return _made(pieces, ends, vocabulary)


@lru_cache(maxsize=4)
def _made(pieces: tuple[bytes, ...], ends: frozenset[int], vocabulary: int) -> GrammarTokenizer:
    return GrammarTokenizer(pieces, ends, vocabulary)
