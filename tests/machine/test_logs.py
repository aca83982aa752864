"""Logs: foreign text forges no line and fills no disk; one place, two formats, a level."""

from __future__ import annotations

import errno
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import ConfigError
from p2p.base.limits import MAX_LOG_BYTES, MAX_LOG_FILES, MAX_LOG_REPEATS, MAX_LOG_TEXT, MAX_LOG_TRACE, MAX_LOG_WORDS
from p2p.machine import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(folder: Path) -> list[str]:
    file = folder / logs.FILE
    return file.read_text().splitlines() if file.exists() else []


@given(st.text())
def test_any_text_stays_on_its_line_and_prints(text: str) -> None:
    for style in ("text", "json"):
        line = logs.render(style, "info", {"event": text, "reason": text, text: text})
        assert line.isprintable()
        assert len(line) < 40 * MAX_LOG_TEXT
    assert set(json.loads(logs.render("json", "info", {"event": text}))) == {"time", "level", "event"}


class Odd:
    def __str__(self) -> str:
        raise ValueError("cannot be said")


@pytest.mark.parametrize("value", [
    10**5000, 2**64, -1.5, None, True, b"\x00\xff", ["\x1b[2J"] * 10_000, {"a": "\n"}, float("nan"), [10**5000], Odd(),
], ids=lambda value: type(value).__name__)
def test_any_value_is_bounded_and_prints(value: Any) -> None:
    for style in ("text", "json"):
        line = logs.render(style, "warning", {"event": "x", "value": value})
        assert line.isprintable()
        assert len(line) < 8 * MAX_LOG_TEXT


def test_a_traceback_is_bounded_and_its_foreign_text_escaped() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("\x1b[31m\nforged line" * 1000)

    with pytest.raises(ValueError, match="forged") as caught:
        deep(50)
    for style in ("text", "json"):
        line = logs.render(style, "error", {"event": "x", "exc_info": caught.value})
        assert line.isprintable()
        assert len(line) < 6 * MAX_LOG_TRACE
        assert "forged line" in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_both_ways_to_log_end_in_one_file(tmp_path: Path, style: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(tmp_path, "info", style)
    structlog.get_logger().info("from structlog", peer="a\nb")
    structlog.get_logger().debug("not said")
    logging.getLogger("p2p.gossip.host").warning("from logging %s", "c\x1b[0m")
    logging.getLogger("p2p.gossip.host").debug("not said")
    logging.getLogger("httpx").info("a line for each request")
    logging.getLogger("a.library").warning("%d", "not a number")
    found = lines(tmp_path)
    assert len(found) == 3
    assert "a\\nb" in found[0].replace("\\\\", "\\")
    assert "\x1b" not in "".join(found)
    if style == "json":
        assert [json.loads(line)["level"] for line in found] == ["info", "warning", "warning"]
    out, err = capsys.readouterr()
    assert out == "", "standard output is for what a command was asked"
    assert len(err.splitlines()) == 2, "warnings are seen at once as well"
    assert stat.S_IMODE((tmp_path / logs.FILE).stat().st_mode) == 0o600


def test_a_level_or_form_that_is_none_is_refused(tmp_path: Path) -> None:
    for level, style, field in (("loud", "text", "log_level"), ("info", "xml", "log_format")):
        with pytest.raises(ConfigError) as caught:
            logs.configure(tmp_path, level, style)
        assert caught.value.field == field


def test_what_strangers_repeat_is_counted_and_nobody_elses_lines_are_lost(tmp_path: Path) -> None:
    clock = Clock()
    logs.configure(tmp_path, "info", "json", repeats=logs.Repeats(clock))
    log = structlog.get_logger()
    for at in range(1000):
        log.info("sync visit failed", peer=str(at))
        logging.getLogger("p2p.gossip").warning("banned %s", at)
    log.info("something else")
    said = [json.loads(line) for line in lines(tmp_path)]
    assert len(said) == 2 * (MAX_LOG_REPEATS + 1) + 1
    assert said[-1]["event"] == "something else"
    clock.now += 60
    log.info("sync visit failed", peer="again")
    assert [json.loads(line).get("lines") for line in lines(tmp_path)[-2:]] == [2 * (1000 - MAX_LOG_REPEATS), None]


def test_words_without_end_are_bounded_as_well() -> None:
    repeats = logs.Repeats(Clock())
    assert sum(repeats.count(str(at)) <= MAX_LOG_REPEATS for at in range(100_000)) <= MAX_LOG_WORDS + MAX_LOG_REPEATS


def test_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    file = logs.RotatingFile(tmp_path / "x.log", most_bytes=1000, files=3)
    for at in range(1000):
        file.write_line(f"line {at} " + "x" * 50)
    found = sorted(tmp_path.iterdir())
    assert [path.name for path in found] == ["x.log", "x.log.1", "x.log.2"]
    assert all(path.stat().st_size <= 1000 for path in found)
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert "line 999" in (tmp_path / "x.log").read_text()
    assert MAX_LOG_BYTES * MAX_LOG_FILES <= 64 << 20


def test_a_disk_that_is_full_costs_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure(tmp_path, "info", "text")
    log = structlog.get_logger()
    with monkeypatch.context() as full:
        def refuse(*args: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(logs, "open_output", refuse)
        for _ in range(3):
            log.info("lost")
    log.info("back")
    assert [line.split()[2] for line in lines(tmp_path)] == ["back"]
    (tmp_path / logs.FILE).unlink()
    tmp_path.chmod(0o500)
    log.info("in a file that was taken away")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("device", ["/dev/full"])
def test_a_write_that_fails_is_no_exception(device: str) -> None:
    file = logs.RotatingFile(Path(device), most_bytes=1000, files=2)
    for _ in range(5):
        file.write_line("x" * 10_000)
    assert file.lost
