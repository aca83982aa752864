"""What a terminal shows: widths, tables, colours, progress; and that text of others brings no escape sequence."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.cli.amounts import amount, money
from p2p.cli.output import fields, readable
from p2p.cli.terminal.progress import Pace, Progress, duration
from p2p.cli.terminal.styled import UNLIMITED, Look, Span, look_of, plain, put, render
from p2p.cli.terminal.table import table
from p2p.cli.terminal.width import cut, cut_middle, pad, width_of
from p2p.machine.foreign_text import Guarded

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)
ESCAPE = re.compile("\x1b\\[[0-9;]*m")


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(("text", "columns"), [
    ("abc", 3), ("", 0), ("中文", 4), ("e\u0301", 1), ("👨\u200d👩\u200d👧", 2), ("❤\ufe0f", 2), ("한글", 4),
    ("\u05d0\u05d1", 2),
])
def test_the_width_of_characters(text: str, columns: int) -> None:
    assert width_of(text) == columns


@given(TEXTS, st.integers(0, 30))
def test_what_is_cut_or_padded_has_the_width(text: str, columns: int) -> None:
    assert width_of(cut(text, columns)) <= columns
    assert width_of(cut_middle(text, columns)) <= columns
    if width_of(text) <= columns:
        assert cut(text, columns) == text
        assert width_of(pad(text, columns)) == columns


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5), st.integers(40, 120))
def test_a_table_fits(rows: list[tuple[str, str, str]], columns: int) -> None:
    lines = table(("one", "two", "three"), rows, columns)
    assert len(lines) == len(rows) + 1
    assert all(width_of(plain(one)) <= columns for one in lines)


def test_a_table_where_there_is_no_width_is_whole_and_aligned() -> None:
    lines = [plain(one) for one in table(("id", "count"), [("x" * 64, "7"), ("中", "1,200")])]
    assert lines[1].startswith("x" * 64)
    assert len({width_of(one) for one in lines}) == 1, "numbers end in one column"
    assert "…" in plain(table(("id", "count"), [("x" * 64, "7")], 40)[1])


@pytest.mark.parametrize(("terminal", "environment", "colour"), [
    (True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False),
    (False, {"FORCE_COLOR": "1"}, True), (False, {"FORCE_COLOR": "0"}, False), (True, {"NO_COLOR": ""}, True),
    (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
])
def test_colours_are_for_terminals_and_whoever_asks(
    terminal: bool, environment: dict[str, str], colour: bool
) -> None:
    assert look_of(Stream(terminal=terminal), environment).colour is colour


HOSTILE = "\x1b[2J\x1b]0;title\x07\u202e\ntwo"


@given(st.text(max_size=60), st.sampled_from(["", "red", "bold red"]))
def test_text_of_others_brings_no_escape_sequence(text: str, style: str) -> None:
    shown = render((Span(text, style), text), Look(True, True, UNLIMITED))
    assert "\x1b" not in ESCAPE.sub("", shown)
    assert "\n" not in shown


def test_styles_pass_the_guard_and_foreign_text_does_not() -> None:
    for stream in (Stream(terminal=True), Guarded(Stream(terminal=True))):
        put(stream, [(Span(HOSTILE, "red"),)], Look(True, True, 80))
        text = stream.getvalue()
        assert text.startswith("\x1b[31m\\u001b[2J")
        assert text.endswith("\x1b[0m\n")
        assert "\x1b" not in ESCAPE.sub("", text)


def test_an_answer_is_a_table_where_its_rows_are_alike() -> None:
    alike = {"peers": [{"peer_id": "a", "height": 7}, {"peer_id": "bb", "height": 12}]}
    shown = [plain(one) for one in readable(alike)]
    assert shown == ["peers:", "  peer id  height", "  a             7", "  bb           12"]
    other = {"rows": [{"a": 1}, {"b": [2]}], "empty": [], "deep": {"x": {"y": 1}}, "state": "ready"}
    lines = readable(other)
    assert [plain(one) for one in lines[1:3]] == ["  a 1", "  b 2"]
    assert plain(lines[3]) == "empty: none"
    assert lines[-1][1] == Span("ready", "green")


def test_an_answer_for_people_has_no_words_of_a_programming_language() -> None:
    answer = {"registered": True, "relaying": False, "twin": None, "passed": [], "names": ["a", "b"],
              "rules": {"window": 5, "bounty": {"part": True}}, "models": [{"model": "m", "eos": [2, 3]}]}
    shown = [plain(one) for one in readable(answer)]
    assert shown == [
        "registered       yes", "relaying         no", "twin             none", "passed: none", "names:", "  a", "  b",
        "rules:", "  window           5", "  bounty           part yes", "models:", "  model m, eos 2, 3",
    ]
    shown = [plain(one) for one in fields({"checked": True, "problems": []}, 10)]
    assert shown == ["checked    yes", "problems   none"]


# -- progress ----------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_the_pace() -> None:
    pace = Pace(0.0)
    assert pace.left_s(0.0, 100) is None
    for second in range(1, 11):
        pace.feed(float(second), 2.0 * second)
    left = pace.left_s(10.0, 100)
    assert left == pytest.approx(40.0)
    assert pace.left_s(12.0, 100) == pytest.approx(38.0), "time passes between two reports"
    stuck = Pace(0.0)
    stuck.feed(1.0, 0.0)
    assert stuck.left_s(5.0, 10) is None


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_is_one_line_on_a_terminal_and_few_lines_elsewhere() -> None:
    clock = Clock()
    screen, log = Stream(terminal=True), Stream(terminal=False)
    with (
        Progress("sync", 100, "blocks", stream=screen, clock=clock, look=Look(True, False, 60)) as shown,
        Progress("sync", 100, "blocks", stream=log, clock=clock) as written,
    ):
        for done in range(101):
            clock.now = float(done)
            shown.at(done)
            written.at(done)
    assert "\n" not in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K"), "the line is taken away"
    assert all(width_of(one.replace("\x1b[K", "")) < 60 for one in screen.getvalue().split("\r"))
    assert "50 s left" in screen.getvalue()
    lines = log.getvalue().splitlines()
    assert 5 <= len(lines) <= 10
    assert lines[-1] == "sync  100 %  100 of 100 blocks"


# -- amounts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "micro"), [
    ("250000", 250_000), ("250000micro", 250_000), ("0.25cr", 250_000), ("0.25 credits", 250_000), ("1credit", 10**6),
    ("0.000001cr", 1), ("9 micro-credits", 9),
])
def test_amounts_are_read_with_units(text: str, micro: int) -> None:
    assert amount()(text) == micro


@pytest.mark.parametrize("text", ["1.5", "0.0000001cr", "cr", ".cr", "-1cr", "1e3cr", "1 ", "1kr", "1.2.3cr", "9" * 41])
def test_what_would_be_rounded_is_no_amount(text: str) -> None:
    with pytest.raises(Exception, match="whole number from 0 to"):
        amount()(text)


@given(st.integers(-(2**63), 2**63))
def test_what_is_printed_is_exact(micro: int) -> None:
    shown = money(micro).replace(",", "")
    sign = -1 if shown.startswith("-") else 1
    assert sign * amount(0, 2**63)(shown.lstrip("-")) == micro
