"""No character of a stop string is shown, however it is cut into tokens and frames, and every token is given once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from p2p.client import events
from p2p.client.events import Token
from p2p.client.shown import Shown
from p2p.wire.frames import Accepted, Trying
from tests.client.one_answer import AGENT, EXECUTOR, SIGNED, finished, followed, frame

STOPS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)


def before_stop(text: str, stops: list[str]) -> str:
    """The text before the stop string that is complete first; of those, before the longest."""
    for end in range(1, len(text) + 1):
        if complete := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, complete))]
    return text


@given(STOPS, st.lists(st.lists(st.text("ab", max_size=3), min_size=1, max_size=3), max_size=8))
def test_what_is_shown_is_the_text_before_the_first_stop_string(stops: list[str], frames: list[list[str]]) -> None:
    shown, given_out, text = Shown(stops), list[Token](), ""
    many = 0
    for parts in frames:
        text += "".join(parts)
        given_out += shown.add(range(many, many + len(parts)), [None] * len(parts), "".join(parts))
        many += len(parts)
        so_far = "".join(token.text for token in given_out)
        assert all(stop not in so_far for stop in stops)
        assert text.startswith(so_far)
        if any(stop in text for stop in stops):
            break  # the answer ends with the token that completes one
    given_out += shown.end()
    wanted = before_stop(text, stops)
    assert "".join(token.text for token in given_out) == shown.text == wanted
    assert [token.token for token in given_out] == list(range(many)) == shown.tokens
    assert shown.found == any(stop in text for stop in stops)


@given(st.lists(st.text(max_size=5), max_size=5))
def test_without_stop_strings_nothing_waits(parts: list[str]) -> None:
    shown = Shown()
    for at, part in enumerate(parts):
        assert shown.add([at], [None], part) == [Token(part, at)]
    assert shown.end() == []
    assert (shown.text, shown.found) == ("".join(parts), False)


async def test_an_answer_is_shown_up_to_its_stop_string_and_signed_for_as_a_whole() -> None:
    shown: Any = Shown(["END"])
    sent = [
        Accepted(SIGNED.inference_id, AGENT.public, bytes(32), (EXECUTOR.public,)), Trying(EXECUTOR.public),
        frame([1, 2], "hi E"), frame([3], "N", before=[1, 2]), frame([4], "Dx", before=[1, 2, 3]),
        finished([1, 2, 3, 4], "hi ENDx"),
    ]
    found = await followed(sent, shown=shown)
    assert [event for event in found if isinstance(event, Token)] == [
        Token("hi ", 1), Token("", 2), Token("", 3), Token("", 4),
    ]
    done = found[-1]
    assert isinstance(done, events.Done)
    assert done.text == "hi "
    assert not [problem for problem in done.receipt.problems if "text" in problem], "the whole of it was signed"
