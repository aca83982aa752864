"""Stop strings: where an answer's text first contains one.

Law: a function of the whole text, in whatever pieces it comes; linear, whatever the stop strings are.

The first stop string is the one that is complete first; of those that end at the same letter, the longest. What is
shown of an answer ends before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from p2p.base.types import FinishReason
from p2p.text.vocabulary import TextStream, Vocabulary


class StopFinder:
    """Looks for the first of `stops` in a text that comes in pieces.

    before: text of an earlier answer that this one continues. A stop string may begin in it, but does not end there:
    those of an earlier answer are not looked for.
    """

    def __init__(self, stops: Sequence[str], before: str = "") -> None:
        self.found: str | None = None  # the stop string
        self._tree = _tree(tuple(stops))
        self._node = 0
        self._held = ""  # own text that may begin a stop string
        for letter in before[-self._tree.longest :] if stops else "":
            self._node = self._tree.step(self._node, letter)

    def feed(self, text: str) -> str:
        """What certainly stands before any stop string: of what was held, and of `text`. Nothing once one is found."""
        if self.found is not None:
            return ""
        tree, node = self._tree, self._node
        if not node and not tree.begins(text):
            return text
        for at, letter in enumerate(text, 1):
            node = tree.step(node, letter)
            if tree.ends[node]:
                self.found = tree.ends[node]
                shown = (self._held + text[:at])[: -len(self.found)]
                self._held = ""
                return shown
        self._node = node
        whole = self._held + text
        sure = max(len(whole) - tree.depths[node], 0)
        self._held = whole[sure:]
        return whole[:sure]

    def finish(self) -> str:
        """The answer is over: what was held, if no stop string was found."""
        held, self._held = self._held, ""
        return held


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where in `text` the first stop string begins; None where there is none."""
    finder = StopFinder(stops)
    before = finder.feed(text)
    return len(before) if finder.found is not None else None


def wrong_end(
    vocabulary: Vocabulary, begun: Sequence[int], tokens: Sequence[int], stops: Sequence[str], reason: FinishReason,
    *, ends: frozenset[int] = frozenset(),
) -> str | None:
    """Stage 0: whether an answer ends where its stop strings say. The sentence that says what is wrong, or None.

    begun: output tokens of an earlier request, whose text this one's continues. ends: end tokens, whose own text, where
    they have any, is not looked at: an answer that ends with one has reason STOP.
    """
    first = _completed_at(vocabulary, begun, tokens, stops, ends)
    if first is None:
        if reason is FinishReason.STOP_STRING:
            return "finish reason and text disagree: the text has no stop string"
        return None
    if first < len(tokens) - 1:
        return "the answer continues after its stop string"
    if reason is not FinishReason.STOP_STRING:
        return "finish reason and text disagree: the text ends with a stop string"
    return None


def _completed_at(
    vocabulary: Vocabulary, begun: Sequence[int], tokens: Sequence[int], stops: Sequence[str], ends: frozenset[int]
) -> int | None:
    """The place of the first token whose text completes a stop string."""
    if not stops:
        return None
    stream = TextStream(vocabulary)
    finder = StopFinder(stops, "".join(map(stream.add, begun)))
    for at, token in enumerate(tokens):
        if token not in ends:
            finder.feed(stream.add(token))
            if finder.found is not None:
                return at
    return None


@dataclass(frozen=True, slots=True)
class _Tree:
    """Aho and Corasick's automaton. A node stands for the longest end of the text that begins a stop string."""

    following: list[dict[str, int]] = field(default_factory=lambda: [{}])
    shorter: list[int] = field(default_factory=lambda: [0])  # the next shorter such end
    depths: list[int] = field(default_factory=lambda: [0])  # its length
    ends: list[str] = field(default_factory=lambda: [""])  # the longest stop string that is complete here

    @property
    def longest(self) -> int:
        return max(self.depths)

    def begins(self, text: str) -> bool:
        """Whether a stop string may begin in `text`."""
        return any(letter in text for letter in self.following[0])

    def step(self, node: int, letter: str) -> int:
        while node and letter not in self.following[node]:
            node = self.shorter[node]
        return self.following[node].get(letter, 0)


@lru_cache(maxsize=64)
def _tree(stops: tuple[str, ...]) -> _Tree:
    tree = _Tree()
    for stop in stops:
        node = 0
        for letter in stop:
            if letter not in tree.following[node]:
                tree.following[node][letter] = len(tree.following)
                tree.following.append({})
                tree.shorter.append(0)
                tree.depths.append(tree.depths[node] + 1)
                tree.ends.append("")
            node = tree.following[node][letter]
        tree.ends[node] = stop
    waiting = deque(tree.following[0].values())
    while waiting:
        node = waiting.popleft()
        for letter, after in tree.following[node].items():
            tree.shorter[after] = tree.step(tree.shorter[node], letter)
            tree.ends[after] = tree.ends[after] or tree.ends[tree.shorter[after]]
            waiting.append(after)
    return tree
