"""Which tokens may come next under a grammar. Law: a function of the grammar, the model's tokens and the output so far;
always at least one token is allowed.

    compiled = compile_grammar(Grammar(GrammarKind.REGEX, "[0-9]+"), GrammarTokenizer.of(pieces, ends, vocabulary))
    matcher = compiled.begin()
    matcher.allowed()  # bool, shape (vocabulary,)
    matcher.accept(token)

End tokens are allowed where the grammar may end. Where nothing may follow, only they are allowed; also where no token
fits, and where a step would take more work than LIMITS allow (trial.py). Then the answer ends early, for everybody at
the same place.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from llguidance import LLMatcher, LLParserLimits
from numpy.typing import NDArray

from p2p.base.body import Grammar
from p2p.base.errors import InvalidRequest
from p2p.base.keys import digest
from p2p.base.limits import GRAMMARS_KEPT
from p2p.grammar.source import lark_source
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.grammar.trial import LIMITS
from p2p.grammar.trying import explained, try_grammar

Bools = NDArray[np.bool_]


class Matcher:
    """A grammar on the way through one answer. Not for two threads at once."""

    def __init__(self, matcher: LLMatcher, tokenizer: GrammarTokenizer) -> None:
        self._matcher, self._tokenizer = matcher, tokenizer
        self._allowed: Bools | None = None  # at this position
        self._ended = False

    def allowed(self) -> Bools:
        """Which tokens may come next: shape (vocabulary,), not to be written to. Computed once a position."""
        if self._allowed is None:
            self._allowed = self._compute()
            self._allowed.flags.writeable = False
        return self._allowed

    def accept(self, token: int) -> bool:
        """The answer continues with this token. False where it is not allowed; then nothing changes. After an end token
        nothing is allowed."""
        if self._ended or not 0 <= token < self._tokenizer.vocabulary or not self.allowed()[token]:
            return False
        if token in self._tokenizer.ends:
            self._ended = True
        else:
            self._matcher.consume_token(token)
            self._allowed = None
        return True

    def _compute(self) -> Bools:
        tokenizer = self._tokenizer
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        found = np.unpackbits(packed, count=tokenizer.vocabulary, bitorder="little").astype(np.bool_)
        found &= tokenizer.texts  # Lark can name special tokens by number
        lost = self._matcher.is_error() or not found.any()
        if lost:
            found[:] = False
        if lost or self._matcher.is_accepting():
            found[tokenizer.end_ids] = True
        return found


class CompiledGrammar:
    """A grammar for one model. For any number of answers and threads."""

    def __init__(self, first: LLMatcher, tokenizer: GrammarTokenizer) -> None:
        self._first, self._tokenizer = first, tokenizer

    def begin(self) -> Matcher:
        """At the first token of an answer."""
        return Matcher(self._first.deep_copy(), self._tokenizer)


def compile_grammar(
    grammar: Grammar, tokenizer: GrammarTokenizer, *, patient: bool = False, tried: bool = False
) -> CompiledGrammar:
    """`grammar` for a model. A new one costs 0.1 s, at most some GRAMMAR_CPU_S: call it in a thread. patient: bears
    more costly grammars, for validators. tried: another process of this peer has tried it. Raises
    InvalidRequest(field='grammar') that says what is wrong or too large, Unavailable where it cannot be tried."""
    lark = lark_source(grammar)
    key = digest(b"grammar", lark.encode()), id(tokenizer)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    if not tried:
        try_grammar(lark, patient=patient)
    limits = LLParserLimits(**LIMITS)  # type: ignore[arg-type]
    first = LLMatcher(tokenizer.tokens, LLMatcher.grammar_from_lark(lark), log_level=0, limits=limits)
    first.compute_bitmask()  # every answer begins with the work of its first token done
    if first.is_error():
        raise InvalidRequest(explained(str(first.get_error())), field="grammar")
    made = CompiledGrammar(first, tokenizer)
    with _lock:
        _kept[key] = made
        while len(_kept) > GRAMMARS_KEPT:
            _kept.popitem(last=False)
    return made


_kept: OrderedDict[tuple[bytes, int], CompiledGrammar] = OrderedDict()  # each holds its tokenizer, so no id is reused
_lock = threading.Lock()
