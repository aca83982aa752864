"""Text and calls are told apart as they come, however the text is cut."""

from __future__ import annotations

import pytest

from p2p.gateway.core.answering import Answering
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Piece, Reason, Row, Said, Started, Usage
from tests.gateway.scripted import Reader

END = Ended(Reason.STOP, Usage(1, 2))


def pieces(text: str, chunk: int = 1000, reason: Reason = Reason.STOP, *, one_call: bool = False) -> list[Piece]:
    """What an answer becomes. Neighbouring texts and arguments are joined."""
    answering = Answering(Reader(), one_call=one_call, new_id=lambda: "id")
    found: list[Piece] = []
    parts = [Said(text[at : at + chunk]) for at in range(0, len(text), chunk)]
    for piece in (one for part in (*parts, Ended(reason, Usage(1, 2))) for one in answering.feed(part)):
        match found[-1:], piece:
            case [Said() as last], Said():
                found[-1] = Said(last.text + piece.text)
            case [CallDelta() as last], CallDelta():
                found[-1] = CallDelta(last.index, last.arguments + piece.arguments)
            case _:
                found.append(piece)
    return found


def call(index: int, name: str) -> list[Piece]:
    return [CallBegin(index, "id", name), CallDelta(index, "{}"), CallEnd(index)]


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
@pytest.mark.parametrize(("text", "found"), [
    ("plain", [Said("plain")]), (" plain \n", [Said(" plain \n")]), ("\n", [Said("\n")]), ("", []),
    ("\n<call>f {}</call>\n", call(0, "f")),
    ("Well. \n<call>f {}</call> \n <call>g {}</call>\n Done. \n", [
        Said("Well."), *call(0, "f"), *call(1, "g"), Said("Done."),
    ]),
])
def test_white_space_around_calls_belongs_to_the_format(text: str, found: list[Piece], chunk: int) -> None:
    said = pieces(text, chunk)
    assert said[:-1] == found
    is_calling = any(isinstance(piece, CallBegin) for piece in found)
    assert said[-1] == Ended(Reason.CALLS if is_calling else Reason.STOP, Usage(1, 2))


def test_an_answer_that_is_cut_in_a_call_ends_the_call_and_says_so() -> None:
    said = pieces('<call>f {"a":', reason=Reason.LENGTH)
    assert said == [CallBegin(0, "id", "f"), CallDelta(0, '{"a":'), CallEnd(0, is_cut=True),
                    Ended(Reason.LENGTH, Usage(1, 2))]


def test_what_follows_the_only_call_is_left_out() -> None:
    assert pieces("<call>f {}</call> more <call>g {}</call>", one_call=True)[:-1] == call(0, "f")


def test_without_tools_everything_passes_as_it_is() -> None:
    answering = Answering(None)
    rows = (Row(1, -0.5, ()),)
    for piece in (Started("01", "02", 3), Said("<call>f {}</call>", rows), END):
        assert answering.feed(piece) == [piece]


def test_rows_come_with_their_text_or_without_it() -> None:
    rows = (Row(1, -0.5, ()),)
    assert Answering(Reader()).feed(Said("<call", rows)) == [Said("", rows)]
