"""The page of a run: failures come first, foreign text is escaped, nothing comes from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from testnet.reports.charts import HEIGHT, NARROW, Axes, band, dots, nice, topology
from testnet.reports.page import page, write_page
from testnet.runs.result import (
    AnswerRow,
    CheckResult,
    Curve,
    EventRow,
    MemberRow,
    Result,
    VerdictRow,
    curve,
    read_result,
    write_result,
)

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "rect", "line", "circle", "polygon", "polyline"}


def result(**more: object) -> Result:
    heights = Curve((0.0, 10.0, 20.0), (1.0, 5.0, None), (2.0, 9.0, None))
    plain = {
        "name": "smoke", "about": EVIL, "seed": 7, "provider": "local", "began": 1e9, "stages": (("load", 60.0),),
        "checks": (CheckResult("no fork", True, "fine"), CheckResult("alive", False, "two", ("a1 ended: " + EVIL,))),
        "members": tuple(MemberRow(f"a{i}", role, "eu", "none", "", "/ip4/1.2.3.4", "ab") for i, role in
                         enumerate(("bootstrap", "validator", "host", "agent", "client"))),
        "links": (("a0", "a1"), ("a1", "a2")), "events": (EventRow("kill", EVIL, 5.0, 8.0, 2.0, ""),),
        "heights": heights, "memory_mib": heights, "files": heights, "cores": heights,
        "answers": (AnswerRow(1.0, 0.2, 0.9, 8, "a2", ""), AnswerRow(2.0, None, 9.0, 0, "", EVIL)),
        "topics": (("votes", 10, 1000, 5.0),), "verdicts": (VerdictRow("a2", "int4", 9, 9, "Refuted", 1),),
        "emulator": {"lost": 3},
    }
    return Result(**{**plain, **more})  # type: ignore[arg-type]


class Balanced(HTMLParser):
    """Raises AssertionError where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_elsewhere() -> None:
    text = page(result())
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert not re.search(r"(src|href)=|<script|@import|url\(", text)
    assert EVIL not in text
    assert "&lt;script&gt;" in text


def test_failures_come_first_and_are_said_in_the_heading() -> None:
    text = page(result())
    assert "Failed: alive" in text
    assert text.index("FAILS") < text.index("holds</td>")
    assert "All checks hold" in page(result(checks=(CheckResult("no fork", True, "fine"),)))


def test_an_empty_run_has_a_page_too() -> None:
    none = Curve((), (), ())
    text = page(result(answers=(), heights=none, memory_mib=none, files=none, cores=none, verdicts=(), topics=(),
                       events=(), links=(), members=()))
    assert "nothing was measured" in text


def test_the_report_is_made_again_from_what_is_kept(tmp_path: Path) -> None:
    write_result(result(), tmp_path)
    again = read_result(tmp_path)
    assert again == result()
    assert write_page(again, tmp_path).read_text() == page(result())


@given(st.floats(1e-6, 1e9))
def test_a_nice_number_is_at_or_above_and_not_far(value: float) -> None:
    assert value <= nice(value) * (1 + 1e-9) <= 2.6 * value


@given(st.lists(st.tuples(st.floats(0, 1e4), st.lists(st.floats(0, 1e6), max_size=5)), max_size=900))
def test_a_curve_is_thinned_and_keeps_its_order(points: list[tuple[float, list[float]]]) -> None:
    points.sort(key=lambda point: point[0])
    made = curve(points)
    assert len(made.at_s) <= 400
    assert list(made.at_s) == sorted(made.at_s)
    for low, high in zip(made.lowest, made.highest, strict=True):
        assert (low is None) == (high is None)
        assert low is None or high is None or low <= high
    assert msgspec.json.decode(msgspec.json.encode(made), type=Curve) == made


@given(st.lists(st.tuples(st.floats(-10, 1e5), st.floats(0, 1e7), st.booleans()), max_size=50))
def test_every_dot_lies_inside_its_picture(points: list[tuple[float, float, bool]]) -> None:
    text = dots(points, "s", "a title")
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', text):
        assert 0 <= float(x) <= NARROW
        assert 0 <= float(y) <= HEIGHT


def test_axes_map_the_ends_to_the_frame() -> None:
    axes = Axes(100.0, 10.0, NARROW)
    assert axes.x(0) < axes.x(50) < axes.x(100) == axes.x(1000)
    assert axes.y(0) > axes.y(5) > axes.y(10) == axes.y(11)


def test_the_map_shows_each_peer_and_each_connection_once() -> None:
    text = topology(result().members, result().links, frozenset({"a1"}))
    assert text.count("<circle") == 4, "a client is no peer"
    assert text.count('class="link"') == 2
    assert text.count("failed") == 1
    assert band(result().heights, "height", "h", result().events).count('class="band"') == 1
