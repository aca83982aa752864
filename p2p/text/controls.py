"""Control tokens, and text of others that must not become one.

Law: where a sign stands inside text of others, no control token begins there; taking the signs out gives the text back.

A control token is a special token of the tokenizer, such as `<|im_end|>`. A template joins its own text and that of
others, and only the joined text is tokenized. So a sign (a character that is nowhere in the conversation) is put into
each control token's words inside foreign text, before the template sees it. What then still reads as a control token
is the template's own. The sign is a letter, so templates that strip, split, join or dump as JSON carry it along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from p2p.base.errors import InvalidRequest

# Rare Chinese characters (CJK extension B). Each is a printable letter without case: `strip`, `upper`, `repr` and JSON
# leave it alone.
_SIGNS = range(0x20000, 0x2A6D0)

_Tree: TypeAlias = "dict[str, _Tree]"  # letter -> what may follow; "": a word ends here


class Controls:
    """The words of one tokenizer's control tokens."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(dict.fromkeys(words))
        self._longest = max(map(len, self.words), default=0)
        self._begin = re.compile(f"(?={any_of(self.words)})(.)", re.DOTALL) if self.words else None
        self._beginnings = {word[:end] for word in self.words for end in range(1, len(word))}
        edges = sorted({word[at] for word in self.words for at in (0, -1)})
        self._edges = re.compile(f"[{re.escape(''.join(edges))}]") if edges else None
        self._joined = "\0".join(self.words)

    def broken(self, text: str, sign: str) -> str:
        """`text` with a sign inside every control token, and after an end that could begin one with what follows."""
        if self._begin is None or not text:
            return text
        text = self._begin.sub(rf"\1{sign}", text)
        bare = text.rstrip()
        for size in range(min(self._longest - 1, len(bare)), 0, -1):
            if bare[-size:] in self._beginnings:
                return bare + sign + text[len(bare) :]
        return text

    def shattered(self, text: str, sign: str) -> str:
        """`text` with signs around every letter that a control token begins or ends with, and after a text that could
        be the middle of one."""
        if self._edges is None or not text:
            return text
        found = self._edges.sub(rf"{sign}\g<0>{sign}", text)
        return found + sign if self._is_inside(text) else found

    def is_near(self, texts: Iterable[str]) -> bool:
        """Whether any of `texts` could be a part of a control token, so that `shattered` changes it."""
        edges = self._edges
        return edges is not None and any(edges.search(text) is not None or self._is_inside(text) for text in texts)

    def _is_inside(self, text: str) -> bool:
        bare = text.strip()
        return 0 < len(bare) <= self._longest and bare in self._joined


def free_signs(texts: Sequence[str], many: int) -> list[str]:
    """Characters that are in none of `texts`. Raises InvalidRequest where somebody used all of them."""
    used: set[str] = set().union(*texts)
    found: list[str] = []
    for code in _SIGNS:
        if chr(code) not in used:
            found.append(chr(code))
            if len(found) == many:
                return found
    raise InvalidRequest("the conversation has every rare Chinese character; leave one out", field="messages")


def any_of(words: Iterable[str]) -> str:
    """A regular expression for the longest of `words`. It is a tree of their letters, so thousands of words cost no
    more than one."""
    root: _Tree = {}
    for word in words:
        node = root
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _tree(root)


def _tree(node: _Tree) -> str:
    stretch = ""
    while len(node) == 1 and "" not in node:  # no branches
        letter, node = next(iter(node.items()))
        stretch += re.escape(letter)
    branches = [re.escape(letter) + _tree(below) for letter, below in node.items() if letter]
    if not branches:
        return stretch
    return f"{stretch}(?:{'|'.join(branches)}){'?' if '' in node else ''}"
