"""Where log lines go and how they look: configured once, for structlog and for libraries that use `logging`. Law: foreign text cannot forge a
line, reach a terminal as it is, or fill a disk.

One rotating file, DIR/log/folkmoot.log, and warnings on standard error as well. Text or JSON, one line for each event. What strangers can
cause any number of times is written a few times a minute, and then counted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import structlog

from p2p.base.errors import ConfigError
from p2p.base.files import make_folder, open_output
from p2p.base.limits import MAX_LOG_BYTES, MAX_LOG_FILES, MAX_LOG_REPEATS, MAX_LOG_TEXT, MAX_LOG_TRACE, MAX_LOG_WORDS

FILE: Final = "folkmoot.log"
LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")
_WINDOW_S: Final = 60.0
_LOUD = ("httpx", "httpcore", "asyncio", "multipart")  # a line for each request
_SAME = "_same"  # key of an event: words that do not change from one line to the next

Event = MutableMapping[str, Any]


def plain(text: str, limit: int = MAX_LOG_TEXT) -> str:
    """`text` on one line: what does not print (control characters, directions, broken surrogates) is escaped, what is too long is cut."""
    short = text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"
    return short if short.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)


class RotatingFile(RotatingFileHandler):
    """A bounded file of lines, readable by its user only. A disk that is full costs the lines, nobody's work."""

    def __init__(self, path: Path, *, most_bytes: int = MAX_LOG_BYTES, files: int = MAX_LOG_FILES) -> None:
        super().__init__(path, maxBytes=most_bytes, backupCount=files - 1, encoding="utf-8", errors="backslashreplace", delay=True)
        self.lost = 0  # lines that could not be written

    def _open(self) -> TextIOWrapper:
        return os.fdopen(open_output(Path(self.baseFilename), os.O_APPEND), "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """A failed rotation leaves no stream: the next line opens one."""
        del record
        self.lost += 1

    def write_line(self, line: str) -> None:
        self.handle(logging.LogRecord("", logging.INFO, "", 0, line, None, None))


class Repeats:
    """How often the same words were said in the current minute. Bounded: of words that are new when all places are taken, none is written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, 0.0
        self._said: dict[str, int] = {}

    def count(self, words: str) -> int:
        """How often they were said in this minute, this time included."""
        self._turn()
        if words not in self._said and len(self._said) >= MAX_LOG_WORDS:
            words = ""
        self._said[words] = self._said.get(words, 0) + 1
        return self._said[words]

    def _turn(self) -> None:
        now = self._clock()
        if now >= self._until:
            self._until, self._said = now + _WINDOW_S, {}

    def left_out(self) -> int:
        """Of the minute so far."""
        return sum(max(0, count - MAX_LOG_REPEATS) for count in self._said.values())


class Pipeline:
    """The last steps of an event: limit, escape, render, write. handler: the file; None: standard error only."""

    def __init__(self, style: str, file: RotatingFile | None, err: Callable[[str], None], repeats: Repeats) -> None:
        self._style, self._file, self._err, self._repeats = style, file, err, repeats

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        del logger
        words = str(event.pop(_SAME, event.get("event", "")))
        left_out = self._repeats.left_out()
        count = self._repeats.count(words)
        if count > MAX_LOG_REPEATS + 1:
            raise structlog.DropEvent
        if count > MAX_LOG_REPEATS:
            event = {"event": "lines that repeat are left out until the minute ends", "like": words}
        elif left_out and not self._repeats.left_out():
            self._write("info", {"event": "lines were left out in the last minute", "lines": left_out})
        self._write(method, event)
        raise structlog.DropEvent  # nothing is left to print

    def _write(self, method: str, event: Mapping[str, Any]) -> None:
        line = render(self._style, method, event)
        if self._file is not None:
            self._file.write_line(line)
        if self._file is None or method not in ("debug", "info"):
            self._err(line)


def render(style: str, method: str, event: Mapping[str, Any]) -> str:
    """One line, without its end."""
    fields = {plain(str(name), 60): _value(value) for name, value in event.items() if name not in ("event", "exc_info")}
    if trace := _trace(event.get("exc_info")):
        fields["trace"] = trace
    at, words = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), plain(str(event.get("event", "")))
    if style == "json":
        return json.dumps({"time": at, "level": method, "event": words, **fields})
    return " ".join([at, method, words, *(f"{name}={value!r}" if isinstance(value, str) else f"{name}={value}" for name, value in fields.items())])


def _value(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 1 << 64 else plain(hex(value))
    try:
        return plain(value.hex() if isinstance(value, bytes) else str(value))
    except Exception:  # of a foreign __str__: a line is no reason to fail
        return f"<{type(value).__name__}>"


def _trace(found: Any) -> str:
    """The end of a traceback, escaped: its texts may be foreign."""
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if not isinstance(error, BaseException):
        return ""
    return plain("".join(traceback.format_exception(error, limit=-8))[-MAX_LOG_TRACE:], MAX_LOG_TRACE)


class _Router(logging.Handler):
    """What libraries, and modules beside libp2p, say through `logging`."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    def emit(self, record: logging.LogRecord) -> None:
        try:
            words = record.getMessage()
        except (TypeError, ValueError):
            words = str(record.msg)
        event: Event = {"event": words, _SAME: f"{record.name}: {record.msg}", "logger": record.name, "exc_info": record.exc_info}
        try:
            self._pipeline(None, record.levelname.lower() if record.levelname.lower() in LEVELS else "error", event)
        except structlog.DropEvent:
            return


def configure(directory: Path | None, level: str = "info", style: str = "text", *, repeats: Repeats | None = None) -> None:
    """Once, when a process starts. directory: where the file is; None: standard error takes all. Raises ConfigError, StorageError."""
    if level not in LEVELS:
        raise ConfigError(f"{level[:40]!r} is none of {', '.join(LEVELS)}", field="log_level")
    if style not in FORMATS:
        raise ConfigError(f"{style[:40]!r} is none of {', '.join(FORMATS)}", field="log_format")
    file = None
    if directory is not None:
        make_folder(directory)
        file = RotatingFile(directory / FILE)
    number = getattr(logging, level.upper())
    pipeline = Pipeline(style, file, _to_stderr, repeats or Repeats())
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, pipeline],
        wrapper_class=structlog.make_filtering_bound_logger(number), cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(_Router(pipeline))
    root.setLevel(logging.WARNING)
    for name in ("p2p", "bootstrap", "testnet"):
        logging.getLogger(name).setLevel(number)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads it any more
