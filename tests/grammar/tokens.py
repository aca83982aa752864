"""Small vocabularies for grammars: every byte, and words that cross borders."""

from __future__ import annotations

from functools import cache

from p2p.base.body import Grammar, GrammarKind
from p2p.grammar.compiled import CompiledGrammar, compile_grammar
from p2p.grammar.matcher import Matcher
from p2p.grammar.tokenizer import GrammarTokenizer

ENDS = frozenset({1, 300})  # two end tokens, one of them behind the words
SPECIAL = 2
BYTE_BASE = 3
WORDS = (
    b'{"', b'":', b'": ', b'", "', b'"}', b"true", b"null", b"yes", b"no", b" ", b"12", b"3.5", b"ab", b"abc", b"name",
    "é".encode(), "日".encode()[:2], "日".encode()[1:], b"[[", b"]]", b"\n", b"  ",
)
PIECES = (b"", b"", b"", *(bytes([b]) for b in range(255)), *WORDS)
VOCABULARY = 320  # ids that no token has, too


@cache
def tokenizer() -> GrammarTokenizer:
    return GrammarTokenizer(PIECES, ENDS, VOCABULARY)


def compiled(kind: GrammarKind, source: str = "") -> CompiledGrammar:
    return compile_grammar(Grammar(kind, source), tokenizer())


def tokens_of(text: str) -> list[int]:
    """One token a byte."""
    return [BYTE_BASE + byte for byte in text.encode()]


def text_of(tokens: list[int]) -> bytes:
    return b"".join(PIECES[token] for token in tokens if token < len(PIECES))


def takes(kind: GrammarKind, source: str, text: str) -> bool:
    """Whether this text, then an end, is an answer."""
    matcher = compiled(kind, source).begin()
    return all(matcher.accept(token) for token in tokens_of(text)) and bool(matcher.allowed()[min(ENDS)])


def begin(kind: GrammarKind, source: str = "") -> Matcher:
    return compiled(kind, source).begin()
