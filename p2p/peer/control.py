"""The local control socket: one line of JSON in, one line of JSON out.

Law: the client side needs only the standard library. Only this user may ask, and no request ends the peer.

The socket is DIR/control.sock, in a folder that belongs to this user alone. Where that path is too long for a Unix
socket, the socket lies in a new folder with a random name. DIR/control.path then names it, and the identity of DIR, so
that it means nothing in a copy of DIR.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2p.base.errors import (
    ConfigError,
    FolkmootError,
    InvalidRequest,
    Overloaded,
    RemoteProtocolError,
    StorageError,
    Unavailable,
)
from p2p.base.files import failure, read_file, short_folder, write_file
from p2p.base.limits import (
    CONTROL_ANSWER_S,
    CONTROL_LINE_S,
    MAX_CONTROL_ANSWER,
    MAX_CONTROL_CALLERS,
    MAX_CONTROL_DEPTH,
    MAX_CONTROL_LINE,
)

MAX_PATH = 100  # bytes of a Unix socket's path; the system's own limit is 108
ACCEPT_PAUSE_S = 0.2  # after a caller that could not be accepted
_CHUNK = 65536  # bytes read at once
_MAX_NOTE = 4096  # bytes of control.path
Handler = Callable[[dict[str, Any]], dict[str, Any]]
_PREFIX = "folkmoot-"
_KINDS: dict[int, type[FolkmootError]] = {
    kind.exit_status: kind for kind in (InvalidRequest, RemoteProtocolError, Overloaded, Unavailable, StorageError)
}


# -- where it is -----------------------------------------------------------------------------------------------------


def socket_path(directory: Path) -> Path:
    """The socket of the peer that runs in `directory`. Raises ConfigError for a damaged control.path."""
    own, note = directory.resolve() / "control.sock", directory / "control.path"
    if _fits(own) or not note.exists():
        return own
    path = _noted(directory)
    if path is None or not path.is_absolute() or not _fits(path):
        raise ConfigError(f"{note} names no socket of a peer in this folder; start the peer again", field="dir")
    return path


def _noted(directory: Path) -> Path | None:
    """The path in control.path; None if it was written for another folder."""
    lines = os.fsdecode(read_file(directory / "control.path", _MAX_NOTE, field="dir")).splitlines()
    return Path(lines[0]) if len(lines) == 2 and lines[1] == _identity(directory) else None


def _identity(directory: Path) -> str:
    found = directory.stat()
    return f"{found.st_dev}:{found.st_ino}"


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_PATH


def make_place(directory: Path) -> Path:
    """A free path to bind. Raises ConfigError, StorageError."""
    own, note = directory.resolve() / "control.sock", directory / "control.path"
    try:
        leave_place(directory)
        if _fits(own):
            return own
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=short_folder()))  # 0700, and new
        write_file(note, os.fsencode(f"{folder / 'control.sock'}\n{_identity(directory)}\n"), field="dir")
        return folder / "control.sock"
    except OSError as error:
        raise failure(error, "make the control socket in", directory, "dir") from error


def leave_place(directory: Path) -> None:
    """Remove the socket of a peer that ran in `directory`, this one or one that was killed. No other peer runs there,
    for it would hold the store's lock."""
    note = directory / "control.path"
    with contextlib.suppress(ConfigError, OSError):
        path = _noted(directory)
        folder = path.parent if path is not None else None
        ours = folder and folder.name.startswith(_PREFIX) and not folder.is_symlink()
        if folder and ours and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
    note.unlink(missing_ok=True)
    (directory.resolve() / "control.sock").unlink(missing_ok=True)


# -- who asks --------------------------------------------------------------------------------------------------------


def call(directory: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the peer that runs in `directory`. Raises Unavailable, or the error that the peer answers."""
    raw = _exchange(directory, json.dumps(request).encode() + b"\n")
    try:
        answer = json.loads(raw)
        wrong = answer.get("error")
        if wrong is None:
            return dict(answer)
        kind = _KINDS.get(wrong.get("status"), InvalidRequest)
        raise kind(str(wrong["message"]), field=str(wrong["field"]), code=str(wrong["code"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unavailable(f"the peer in {directory} gave half an answer; its log may say why", field="dir") from error


def _exchange(directory: Path, line: bytes) -> bytes:
    raw = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CONTROL_ANSWER_S)
            connection.connect(str(socket_path(directory)))
            if (user := peer_user(connection)) not in (os.geteuid(), 0, directory.stat().st_uid):
                raise Unavailable(
                    f"what answers in {directory} is run by user {user}, not by the folder's owner", field="dir"
                )
            connection.sendall(line)
            while not raw.endswith(b"\n") and len(raw) < MAX_CONTROL_ANSWER and (chunk := connection.recv(_CHUNK)):
                raw += chunk
    except TimeoutError as error:
        raise Unavailable(
            f"the peer in {directory} does not answer within {CONTROL_ANSWER_S:.0f} s", field="dir"
        ) from error
    except PermissionError as error:
        raise Unavailable(
            f"cannot look into {directory}: {error.strerror}; run this as the user that the peer runs as", field="dir"
        ) from error
    except (OSError, ValueError) as error:
        if raw:
            return bytes(raw)
        raise Unavailable(
            f"no peer runs in {directory}; start one with: folkmoot serve --dir {directory}", field="dir"
        ) from error
    return bytes(raw)


def peer_user(connection: Any) -> int:
    """User id of the process at the other end, from the kernel (SO_PEERCRED)."""
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


# -- who answers -----------------------------------------------------------------------------------------------------


async def serve_control(directory: Path, handler: Handler) -> None:
    """Answer requests until cancelled. If somebody deletes the socket's file it is not made again before the next
    start."""
    import trio

    listener = trio.socket.from_stdlib_socket(_listen(make_place(directory)))
    try:
        places = trio.Semaphore(MAX_CONTROL_CALLERS)
        async with trio.open_nursery() as nursery:
            while True:
                await places.acquire()
                connection = await _accept(listener)
                nursery.start_soon(_serve, connection, handler, places)
    finally:
        listener.close()
        leave_place(directory)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(MAX_CONTROL_CALLERS)
    except OSError as error:
        listener.close()
        raise failure(error, "listen on", path, "dir") from error
    return listener


async def _accept(listener: Any) -> Any:
    """The next caller. If none can be accepted (no descriptors left), it waits and tries again."""
    import structlog
    import trio

    while True:
        try:
            return (await listener.accept())[0]
        except OSError as error:
            structlog.get_logger().warning("the control socket cannot take a caller", reason=str(error))
            await trio.sleep(ACCEPT_PAUSE_S)


async def _serve(connection: Any, handler: Handler, places: Any) -> None:
    """Answer one caller. One that goes away, or never ends its line, is no error."""
    import trio

    try:
        with trio.move_on_after(CONTROL_ANSWER_S), contextlib.suppress(
            trio.BrokenResourceError, trio.ClosedResourceError, OSError
        ):
            stream = trio.SocketStream(connection)
            line = await _line(stream)  # also a stranger's: a close before it is read would lose the answer
            if (user := peer_user(connection)) in (os.geteuid(), 0):
                answer = answer_line(line, handler)
            else:
                answer = _error(InvalidRequest(f"this peer answers its own user, not user {user}", field="user"))
            await stream.send_all(answer)
    finally:
        places.release()
        connection.close()


async def _line(stream: Any) -> bytes:
    import trio

    raw = bytearray()
    with trio.move_on_after(CONTROL_LINE_S):
        while b"\n" not in raw and len(raw) <= MAX_CONTROL_LINE:
            chunk = await stream.receive_some(_CHUNK)
            if not chunk:
                break
            raw += chunk
    return bytes(raw).partition(b"\n")[0] if len(raw) <= MAX_CONTROL_LINE else b""


def answer_line(line: bytes, handler: Handler) -> bytes:
    """One request line to one answer line. Whatever the handler raises becomes an answer."""
    try:
        answer = json.dumps(handler(_parse(line))).encode() + b"\n"
        if len(answer) > MAX_CONTROL_ANSWER:
            raise Overloaded(
                f"the answer has {len(answer)} bytes, {MAX_CONTROL_ANSWER} are allowed; ask for less", field="request"
            )
        return answer
    except FolkmootError as error:
        return _error(error)
    except Exception as error:  # a fault in a query ends the query, not the peer
        import structlog

        structlog.get_logger().exception("a query on the control socket failed")
        said = f"the peer could not answer ({type(error).__name__}); its log says why"
        return _error(Unavailable(said, field="request", code="internal"))


def _parse(line: bytes) -> dict[str, Any]:
    depth = deepest = 0
    for byte in line:  # brackets within strings count too: no request needs so many
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    try:
        request = json.loads(line) if deepest <= MAX_CONTROL_DEPTH else None
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise InvalidRequest(
            f"a request is one line with one JSON object, of at most {MAX_CONTROL_LINE} bytes and "
            f"{MAX_CONTROL_DEPTH} levels", field="request",
        )
    return request


def _error(error: FolkmootError) -> bytes:
    wrong = {"code": error.code, "field": error.field, "message": error.message, "status": error.exit_status}
    return json.dumps({"error": wrong}).encode() + b"\n"
