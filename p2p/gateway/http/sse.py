"""Server-sent events as bytes. Law: one event is one piece; no line of its data is taken for another field."""

from __future__ import annotations

COMMENT = b": keep-alive\n\n"  # what readers ignore, and proxies take for a sign of life
HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def pack_event(name: str, data: bytes) -> bytes:
    """One event. name: "" for none. data: one or more lines of UTF-8."""
    lines = b"".join(b"data: %s\n" % line for line in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    return (b"event: %s\n" % name.encode() if name else b"") + lines + b"\n"
