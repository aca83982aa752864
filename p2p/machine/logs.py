"""Configures logging once per process, for structlog and for libraries that use the standard `logging`.

Law: foreign text cannot forge a log line, reach a terminal unescaped, or fill the disk.

Lines go to one rotating file, DIR/log/folkmoot.log, and warnings also to standard error: text or JSON, one line per
event. Lines with the same words, which strangers can cause at will, are written a few times a minute and then counted.
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
from p2p.machine.tracing import EACH

FILE: Final = "folkmoot.log"
LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")
_WINDOW_S: Final = 60.0  # in which repeated lines are counted
_LOUD = ("httpx", "httpcore", "asyncio", "multipart")  # libraries that log each request
_SAME = "_same"  # key of an event: the words by which it counts as a repetition
_MAX_FIELD_NAME: Final = 60  # characters
_TRACE_FRAMES: Final = 8  # innermost stack frames of a traceback that are kept

Event = MutableMapping[str, Any]


def plain(text: str, limit: int = MAX_LOG_TEXT) -> str:
    """`text` on one line: characters that do not print (control, direction, broken surrogates) are escaped, and what is
    longer than `limit` characters is cut."""
    short = text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"
    if short.isprintable():
        return short
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)


class RotatingFile(RotatingFileHandler):
    """A bounded log file, readable by its user only. When the disk is full, lines are lost and the peer continues."""

    def __init__(self, path: Path, *, most_bytes: int = MAX_LOG_BYTES, files: int = MAX_LOG_FILES) -> None:
        super().__init__(
            path, maxBytes=most_bytes, backupCount=files - 1, encoding="utf-8", errors="backslashreplace", delay=True,
        )
        self.lost = 0  # lines that could not be written

    def _open(self) -> TextIOWrapper:
        descriptor = open_output(Path(self.baseFilename), os.O_APPEND)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by `logging`. A failed rotation leaves no stream; the next line opens one again."""
        del record
        self.lost += 1

    def write_line(self, line: str) -> None:
        self.handle(logging.LogRecord("", logging.INFO, "", 0, line, None, None))


class Repeats:
    """Counts how often the same words were logged in the current minute.

    At most MAX_LOG_WORDS different words are counted; further ones share one count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, 0.0
        self._said: dict[str, int] = {}

    def count(self, words: str) -> int:
        """How often `words` were logged in this minute, this time included."""
        self._start_minute()
        if words not in self._said and len(self._said) >= MAX_LOG_WORDS:
            words = ""
        self._said[words] = self._said.get(words, 0) + 1
        return self._said[words]

    def _start_minute(self) -> None:
        now = self._clock()
        if now >= self._until:
            self._until, self._said = now + _WINDOW_S, {}

    def left_out(self) -> int:
        """Lines that were not written in this minute so far."""
        return sum(max(0, count - MAX_LOG_REPEATS) for count in self._said.values())


class Pipeline:
    """What happens to an event last: repetitions are dropped, text is escaped, the line is written.

    style: 'text' or 'json'. file: None: all lines go to `err`, standard error.
    """

    def __init__(self, style: str, file: RotatingFile | None, err: Callable[[str], None], repeats: Repeats) -> None:
        self._style, self._file, self._err, self._repeats = style, file, err, repeats

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        del logger
        if event.pop(EACH, False):
            self._write(method, event)
            raise structlog.DropEvent
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
        raise structlog.DropEvent  # it is written: structlog prints nothing more

    def _write(self, method: str, event: Mapping[str, Any]) -> None:
        line = render(self._style, method, event)
        if self._file is not None:
            self._file.write_line(line)
        if self._file is None or method not in ("debug", "info"):
            self._err(line)


def render(style: str, method: str, event: Mapping[str, Any]) -> str:
    """The line for an event, without a line end."""
    fields = {
        plain(str(name), _MAX_FIELD_NAME): _value(value)
        for name, value in event.items() if name not in ("event", "exc_info")
    }
    if trace := _trace(event.get("exc_info")):
        fields["trace"] = trace
    at, words = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), plain(str(event.get("event", "")))
    if style == "json":
        return json.dumps({"time": at, "level": method, "event": words, **fields})
    shown = (f"{name}={value!r}" if isinstance(value, str) else f"{name}={value}" for name, value in fields.items())
    return " ".join([at, method, words, *shown])


def _value(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 1 << 64 else plain(hex(value))
    try:
        return plain(value.hex() if isinstance(value, bytes) else str(value))
    except Exception:  # a foreign __str__ may raise anything; a log line must not fail for it
        return f"<{type(value).__name__}>"


def _trace(found: Any) -> str:
    """The end of a traceback on one line, escaped because its messages may be foreign."""
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if not isinstance(error, BaseException):
        return ""
    return plain("".join(traceback.format_exception(error, limit=-_TRACE_FRAMES))[-MAX_LOG_TRACE:], MAX_LOG_TRACE)


class _Router(logging.Handler):
    """Passes what libraries log through `logging` to the pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    def emit(self, record: logging.LogRecord) -> None:
        try:
            words = record.getMessage()
        except (TypeError, ValueError):
            words = str(record.msg)
        event: Event = {
            "event": words, _SAME: f"{record.name}: {record.msg}", "logger": record.name, "exc_info": record.exc_info,
            **structlog.contextvars.get_contextvars(),
        }
        level = record.levelname.lower()
        try:
            self._pipeline(None, level if level in LEVELS else "error", event)
        except structlog.DropEvent:
            return


def configure(
    directory: Path | None, level: str = "info", style: str = "text", *, repeats: Repeats | None = None,
) -> None:
    """Configure logging; once, when a process starts.

    directory: where the log file is; None: everything goes to standard error. Raises ConfigError, StorageError.
    """
    if level not in LEVELS:
        raise ConfigError(f"{level[:40]!r} is not a level; use one of {', '.join(LEVELS)}", field="log_level")
    if style not in FORMATS:
        raise ConfigError(f"{style[:40]!r} is not a format; use one of {', '.join(FORMATS)}", field="log_format")
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
        return  # standard error is closed: nobody reads it
