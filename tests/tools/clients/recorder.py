"""Stands between a client and the gateway: passes everything on and writes down what the client asked.

Law: what passes is not changed. Three things it answers itself. A request below /busy/ gets one 429 with Retry-After,
as a full gateway says it, before the next ones pass. A request to another host (it is also the client's HTTP proxy)
gets a 403, so that a client reaches nothing else, and we know what it wanted there. /seen tells a script what its
client has asked so far.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PASS_S = 180.0  # the longest silence of the gateway
MOST_BODY = 64 * 1024 * 1024  # bytes of one request
BUSY, SEEN = "/busy", "/seen"
BUSY_AFTER_S = "1"
# headers that belong to one connection, not to the message
_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "host"}
_OPENAI_BUSY = {"error": {
    "message": "every executor is busy: try again", "type": "rate_limit_error", "param": None, "code": "rate_limited",
}}
_ANTHROPIC_BUSY = {"type": "error", "error": {"type": "rate_limit_error", "message": "every executor is busy"}}


@dataclass(slots=True)
class Seen:
    """One request of a client."""

    method: str
    path: str  # without the query
    query: str
    headers: dict[str, str]  # lower-case names
    body: Any  # parsed JSON; text where it is none
    status: int = 0  # of the answer; 0: none came
    answer: str = ""  # the beginning of an answer that is an error
    busy: bool = False  # answered here with 429
    outside: str = ""  # the other host that it was for


@dataclass(slots=True)
class Recorder:
    """A running recorder. url: where it listens, without a path."""

    target: str  # the gateway's URL, without a path
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> list[Seen]:
        """What was seen since the last call."""
        with self.lock:
            found, self.seen = self.seen, []
        return found


@contextmanager
def recording(target: str) -> Iterator[Recorder]:
    """A recorder in front of `target` (http://HOST:PORT) on a free port of the loopback interface."""
    recorder = Recorder(target.rstrip("/"))
    server = _Server(("127.0.0.1", 0), recorder)
    recorder.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="recorder", daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], recorder: Recorder) -> None:
        super().__init__(address, _Handler)
        self.recorder = recorder

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is no fault of anybody."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error: what is seen is kept."""

    def do_CONNECT(self) -> None:
        self._refuse(self.path)

    def _refuse(self, host: str) -> None:
        self._keep(Seen(self.command, self.path, "", {}, None, 403, outside=host))
        self.close_connection = True
        self._answer(403, {"error": {"message": "this run has no way to other hosts", "type": "forbidden"}}, {})

    def _keep(self, seen: Seen) -> Seen:
        with self.server.recorder.lock:
            self.server.recorder.seen.append(seen)
        return seen

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "content-type": "application/json", "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _any(self) -> None:
        if self.path.startswith("http"):
            self._refuse(urlsplit(self.path).netloc)
            return
        if self.path == SEEN:
            with self.server.recorder.lock:
                told = [asdict(seen) for seen in self.server.recorder.seen]
            self._answer(200, told, {})
            return
        data = self._read()
        busy = self.path.startswith(BUSY + "/")
        path = self.path.removeprefix(BUSY) if busy else self.path
        bare, _, query = path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, bare, query, headers, _parsed(data))
        with self.server.recorder.lock:
            first = busy and not any(s.busy and s.path == bare for s in self.server.recorder.seen)
            seen.busy = first
            self.server.recorder.seen.append(seen)
        if first:
            seen.status = 429
            envelope = _ANTHROPIC_BUSY if bare.endswith("/messages") else _OPENAI_BUSY
            self._answer(429, envelope, {"retry-after": BUSY_AFTER_S})
            return
        self._pass(path, data, seen)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = _any

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(min(int(self.headers.get("content-length") or 0), MOST_BODY))

    def _pass(self, path: str, data: bytes, seen: Seen) -> None:
        to = urlsplit(self.server.recorder.target)
        upstream = http.client.HTTPConnection(to.hostname or "", to.port, timeout=PASS_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            headers.pop("Content-Length", None)
            upstream.request(self.command, to.path + path, data or None, headers)
            answer = upstream.getresponse()
            seen.status = answer.status
            self._relay(answer, seen)
        except (OSError, http.client.HTTPException) as error:
            if not seen.status:
                seen.answer = f"no answer: {error!r}"
                self._answer(502, {"error": {"message": seen.answer, "type": "server_error"}}, {})
            self.close_connection = True
        finally:
            upstream.close()

    def _relay(self, answer: http.client.HTTPResponse, seen: Seen) -> None:
        """Pass an answer on as it comes, piece by piece."""
        self.send_response(answer.status)
        length = answer.getheader("content-length")
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"content-length", "date", "server"}:
                self.send_header(name, value)
        bare = self.command == "HEAD" or answer.status in (204, 304)
        if length is not None:
            self.send_header("content-length", length)
        elif not bare:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while not bare and (piece := answer.read1(65536)):
            if answer.status >= 400:
                seen.answer = (seen.answer + piece.decode(errors="replace"))[:2000]
            self.wfile.write(piece if length is not None else b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        if length is None and not bare:
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data.decode(errors="replace")[:2000]
