"""The local control socket: one JSON line in, one JSON line out. Law: the client side needs only the standard library.

DIR/control.sock; where that path is too long for a Unix socket, DIR/control.path names a short one.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2p.errors import FolkmootError, InvalidRequest, Unavailable

MAX_LINE = 64 * 1024
MAX_ANSWER = 16 * 1024 * 1024
MAX_PATH = 100
TIMEOUT_S = 20.0


def socket_path(directory: Path) -> Path:
    path = directory.resolve() / "control.sock"
    if len(str(path)) <= MAX_PATH:
        return path
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"folkmoot-{name}.sock"


def call(directory: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the peer that runs in `directory`. Raises Unavailable, or the peer's own error."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(socket_path(directory)))
            connection.sendall(json.dumps(request).encode() + b"\n")
            raw = b""
            while not raw.endswith(b"\n") and len(raw) < MAX_ANSWER:
                chunk = connection.recv(65536)
                if not chunk:
                    break
                raw += chunk
        answer = json.loads(raw)
    except (OSError, ValueError) as error:
        raise Unavailable(f"no peer runs in {directory}; start one with: folkmoot serve --dir {directory}", field="dir") from error
    if "error" in answer:
        wrong = answer["error"]
        kind = Unavailable if wrong["code"] == "unavailable" else InvalidRequest
        raise kind(wrong["message"], field=wrong["field"], code=wrong["code"])
    return dict(answer)


async def serve_control(directory: Path, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer on the socket until cancelled."""
    import trio

    path = socket_path(directory)
    path.unlink(missing_ok=True)
    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(str(path))
    os.chmod(path, 0o600)
    listener.listen(16)
    places = trio.CapacityLimiter(16)

    async def one(stream: trio.SocketStream) -> None:
        async with places, stream:
            with trio.move_on_after(TIMEOUT_S):
                await stream.send_all(json.dumps(_answer(await _line(stream), handler)).encode() + b"\n")

    try:
        async with trio.open_nursery() as nursery:
            while True:
                connection, _ = await listener.accept()
                nursery.start_soon(_quietly, one, trio.SocketStream(connection))
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _quietly(serve: Callable[[Any], Any], stream: Any) -> None:
    """A caller that goes away is its own business."""
    import trio

    try:
        await serve(stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _line(stream: Any) -> bytes:
    raw = b""
    while b"\n" not in raw and len(raw) <= MAX_LINE:
        chunk = await stream.receive_some(65536)
        if not chunk:
            break
        raw += chunk
    return raw.partition(b"\n")[0] if len(raw) <= MAX_LINE else b""


def _answer(line: bytes, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise InvalidRequest("a request is a JSON object", field="request")
        return handler(request)
    except ValueError:
        return {"error": {"code": "invalid_request", "field": "request", "message": "not one JSON line of at most 64 KiB"}}
    except FolkmootError as error:
        return {"error": {"code": error.code, "field": error.field, "message": error.message}}
