"""Stop strings are found where they are first complete, whatever pieces the text comes in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.types import FinishReason
from p2p.text.stop import StopFinder, first_stop, wrong_end
from p2p.text.vocabulary import Vocabulary

BYTES = Vocabulary(tuple(bytes([byte]) for byte in range(256)))
PAIRS = Vocabulary((b"", *(f"{a}{b}".encode() for a in "ab" for b in "ab"), "\U0001f336".encode()[:2],
                    "\U0001f336".encode()[2:], b"a", b"b"))
text_of_ab = st.text(alphabet="ab", max_size=30)
stops_of_ab = st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=4).map(tuple)


def slow(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Where the first stop string begins, and which it is: by looking at every place."""
    for end in range(1, len(text) + 1):
        here = [stop for stop in stops if text[:end].endswith(stop)]
        if here:
            longest = max(here, key=len)
            return end - len(longest), longest
    return None


@given(text_of_ab, stops_of_ab)
def test_the_first_stop_is_the_one_that_is_complete_first(text: str, stops: tuple[str, ...]) -> None:
    expected = slow(text, stops)
    assert first_stop(text, stops) == (None if expected is None else expected[0])


@given(text_of_ab, stops_of_ab, st.data())
def test_pieces_change_nothing_and_nothing_is_taken_back(text: str, stops: tuple[str, ...], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    finder, shown = StopFinder(stops), ""
    for begin, end in pairwise([0, *cuts, len(text)]):
        shown += finder.feed(text[begin:end])
        held = len(text[:end]) - len(shown)
        if finder.found is None:
            assert held < max(map(len, stops), default=1), "no more is held than may begin a stop string"
    expected = slow(text, stops)
    assert finder.found == (None if expected is None else expected[1])
    assert shown + finder.finish() == (text if expected is None else text[: expected[0]])
    assert finder.found is None or finder.feed("abab") == "", "nothing is shown after it"


@given(text_of_ab, text_of_ab, stops_of_ab)
def test_a_stop_may_begin_in_the_answer_that_is_continued_but_not_end_there(
    before: str, text: str, stops: tuple[str, ...],
) -> None:
    finder = StopFinder(stops, before)
    shown = finder.feed(text) + finder.finish()
    ends = [end for end in range(1, len(text) + 1) if any((before + text[:end]).endswith(stop) for stop in stops)]
    assert (finder.found is not None) == bool(ends)
    if finder.found is None:
        assert shown == text
    else:
        assert shown == text[: max(ends[0] - len(finder.found), 0)]


def wrong(text: str, stops: Sequence[str], reason: FinishReason, begun: str = "", **more: frozenset[int]) -> str | None:
    return wrong_end(BYTES, list(begun.encode()), list(text.encode()), stops, reason, **more)


@pytest.mark.parametrize(("text", "begun", "reason", "said"), [
    ("one END", "", FinishReason.STOP_STRING, None),
    ("one", "", FinishReason.LENGTH, None),
    ("one", "", FinishReason.STOP, None),
    ("ND", "one E", FinishReason.STOP_STRING, None),
    ("two", "one END", FinishReason.LENGTH, None),
    ("one", "", FinishReason.STOP_STRING, "finish reason and text disagree: the text has no stop string"),
    ("two", "one END", FinishReason.STOP_STRING, "finish reason and text disagree: the text has no stop string"),
    ("one END!", "", FinishReason.STOP_STRING, "the answer continues after its stop string"),
    ("one END!", "", FinishReason.LENGTH, "the answer continues after its stop string"),
    ("one END", "", FinishReason.LENGTH, "finish reason and text disagree: the text ends with a stop string"),
    ("one END", "", FinishReason.STOPPED, "finish reason and text disagree: the text ends with a stop string"),
])
def test_an_answer_ends_where_its_stop_strings_say(text: str, begun: str, reason: FinishReason, said: str | None) -> None:
    assert wrong(text, ("END", "ENDLESS"), reason, begun) == said


def test_without_stop_strings_only_the_reason_counts() -> None:
    assert wrong("x", (), FinishReason.LENGTH) is None
    assert wrong("x", (), FinishReason.STOP_STRING) is not None


def test_an_end_token_completes_no_stop_string() -> None:
    ends = frozenset({ord("D")})
    assert wrong("one END", ("END",), FinishReason.STOP, ends=ends) is None
    assert wrong("one END", ("END",), FinishReason.STOP) is not None


@given(st.lists(st.integers(0, len(PAIRS.pieces)), min_size=1, max_size=12), stops_of_ab, st.integers(0, 12))
def test_an_honest_answer_passes_and_a_longer_one_does_not(tokens: list[int], stops: tuple[str, ...], cut: int) -> None:
    begun, own = tokens[:cut], tokens[cut:]
    before = PAIRS.text(begun)
    for many in range(1, len(own) + 1):
        finder = StopFinder(stops, before)
        finder.feed(PAIRS.text([*begun, *own[:many]])[len(before):])
        if finder.found is not None:
            assert wrong_end(PAIRS, begun, own[:many], stops, FinishReason.STOP_STRING) is None
            if many < len(own):
                assert wrong_end(PAIRS, begun, own, stops, FinishReason.STOP_STRING) is not None
            return
    assert wrong_end(PAIRS, begun, own or [0], stops, FinishReason.LENGTH) is None


def test_every_letter_is_looked_at_a_few_times() -> None:
    """The worst text for the worst stop strings."""
    stop, text = "a" * 255 + "b", "a" * 131_072
    finder = StopFinder([stop, "a" * 200 + "c"])
    asked = []

    class Counting(dict[str, int]):
        def __contains__(self, letter: object) -> bool:
            asked.append(letter)
            return super().__contains__(letter)

    finder._tree.following[:] = map(Counting, finder._tree.following)
    shown = "".join(map(finder.feed, text))
    assert len(shown) == len(text) - 255
    assert len(asked) <= 3 * len(text)
