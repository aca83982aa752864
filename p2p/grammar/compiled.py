"""A grammar compiled for one model. Law: one compilation serves many answers and threads.

    compiled = compile_grammar(Grammar(GrammarKind.REGEX, "[0-9]+"), GrammarTokenizer.from_json(raw, ends, vocabulary))
    matcher = compiled.begin()
    matcher.allowed()  # bool, shape (vocabulary,)
    matcher.accept(token)
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from llguidance import LLMatcher, LLParserLimits

from p2p.base.body import Grammar
from p2p.base.errors import InvalidRequest
from p2p.base.keys import digest
from p2p.base.serving_limits import GRAMMARS_KEPT
from p2p.grammar.matcher import Matcher
from p2p.grammar.source import lark_source
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.grammar.trial import LIMITS
from p2p.grammar.trying import explained, try_grammar


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
