"""The control socket against odd questions, odd callers and long paths: each gets an answer, and the next one as
well."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest, Overloaded, StorageError, Unavailable
from p2p.base.limits import MAX_CONTROL_ANSWER, MAX_CONTROL_CALLERS, MAX_CONTROL_DEPTH, MAX_CONTROL_LINE
from p2p.peer import control

GOOD = {"op": "status"}


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"seen": request}


@asynccontextmanager
async def serving(directory: Path, handler: control.Handler = echo) -> AsyncIterator[None]:
    """Until the socket is there; and when the block ends the server must still run."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.serve_control, directory, handler)
        up = b""
        while not up:
            await trio.lowlevel.checkpoint()
            with suppress(OSError):
                up = await raw(directory, b"{}\n")
        yield
        assert await ask(directory, GOOD)
        nursery.cancel_scope.cancel()


async def ask(directory: Path, request: dict[str, Any]) -> dict[str, Any]:
    return await trio.to_thread.run_sync(control.call, directory, request)


async def raw(directory: Path, data: bytes) -> bytes:
    """The whole answer to any bytes."""
    connection = trio.socket.socket(socket.AF_UNIX)
    await connection.connect(str(control.socket_path(directory)))
    stream = trio.SocketStream(connection)
    async with stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
        except trio.BrokenResourceError:
            pass  # it was refused before it was read to its end
        got = b""
        while chunk := await stream.receive_some():
            got += chunk
        return got


def broken(request: dict[str, Any]) -> dict[str, Any]:
    kinds = {
        "KeyError": KeyError, "RecursionError": RecursionError, "OverflowError": OverflowError,
        "MemoryError": MemoryError
    }
    if request["op"] in kinds:
        raise kinds[request["op"]]("secret")
    return {"unserialisable": {1, 2}} if request["op"] == "set" else {
        "long": "x" * MAX_CONTROL_ANSWER
    } if request["op"] == "long" else request


@pytest.mark.parametrize("op", ["KeyError", "RecursionError", "OverflowError", "MemoryError", "set", "long"])
async def test_a_handler_that_fails_gives_an_answer_and_the_peer_goes_on(tmp_path: Path, op: str) -> None:
    async with serving(tmp_path, broken):
        with pytest.raises((Unavailable, Overloaded)) as caught:
            await ask(tmp_path, {"op": op})
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("line", [
    b"", b"\n", b"nonsense\n", b"[1]\n", b"null\n", b"\xff\xfe\n", b"[" * 60_000 + b"\n",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"\n",
    b'{"a":' * (MAX_CONTROL_DEPTH + 1) + b"1" + b"}" * (MAX_CONTROL_DEPTH + 1) + b"\n", b'{"a":' + b"9" * 5000 + b"}\n",
    b"x" * (MAX_CONTROL_LINE + 2), b"]" * 1000 + b"[" * 1000 + b"\n",
])
async def test_a_line_that_is_no_request_is_told_so(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path):
        answer = await raw(tmp_path, line)
        assert json.loads(answer)["error"]["field"] == "request"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x)
))
def test_any_json_gets_one_line_of_json(value: object) -> None:
    answer = control.answer_line(json.dumps(value).encode(), echo)
    assert answer.endswith(b"\n")
    assert isinstance(json.loads(answer), dict)


@given(st.binary(max_size=200))
def test_any_bytes_get_one_line_of_json(line: bytes) -> None:
    assert isinstance(json.loads(control.answer_line(line, echo)), dict)


@pytest.mark.parametrize("error", [
    InvalidRequest("a", field="f"), Overloaded("a"), Unavailable("a"),
    StorageError("a", field="store", code="disk_full"),
])
async def test_an_error_comes_through_with_its_kind(tmp_path: Path, error: FolkmootError) -> None:
    def fails(request: dict[str, Any]) -> dict[str, Any]:
        if "fail" in request:
            raise error
        return request

    async with serving(tmp_path, fails):
        with pytest.raises(type(error)) as caught:
            await ask(tmp_path, {"op": "x", "fail": 1})
        assert (
            caught.value.code, caught.value.field, caught.value.exit_status
        ) == (error.code, error.field, error.exit_status)


# -- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["", "set", "long"])
async def test_a_long_path_is_found_by_who_has_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    folder, own = tmp_path / ("d" * 120), tmp_path / "run"
    folder.mkdir()
    own = own / ("r" * 120) if runtime == "long" else own
    own.mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own) if runtime else "")
    async with serving(folder):
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert (await ask(folder, GOOD))["seen"] == GOOD
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere/else")
        assert (await ask(folder, GOOD))["seen"] == GOOD
        place = control.socket_path(folder).parent
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert place.stat().st_uid == os.geteuid()
        assert stat.S_IMODE((folder / "control.path").stat().st_mode) == 0o600
    assert not place.exists()
    assert not (folder / "control.path").exists()


async def test_a_name_that_somebody_took_before_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two places are the same: there is no name that another user could make first."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    places = set()
    for _ in range(3):
        path = control.make_place(folder)
        places.add(path)
        control.leave_place(folder)
    assert len(places) == 3


async def test_what_a_killed_peer_left_is_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    left = control.make_place(folder)
    left.write_text("a socket that nobody serves")
    async with serving(folder):
        assert control.socket_path(folder) != left
        assert not left.parent.exists()


async def test_a_copied_folder_takes_nothing_from_the_peer_that_runs_in_the_original(tmp_path: Path) -> None:
    """The copy's control.path names the original's socket."""
    folder, copy = tmp_path / ("d" * 120), tmp_path / ("c" * 120)
    folder.mkdir()
    async with serving(folder):
        shutil.copytree(folder, copy)
        with pytest.raises(ConfigError, match="in this folder"):
            control.socket_path(copy)
        control.leave_place(copy)
        assert not (copy / "control.path").exists()
        assert (await ask(folder, GOOD))["seen"] == GOOD


async def test_a_note_that_names_something_else_takes_nothing_away(tmp_path: Path) -> None:
    folder, dear = tmp_path / "peer", tmp_path / "dear"
    folder.mkdir()
    dear.mkdir()
    (folder / "control.path").write_text(str(dear / "control.sock"))
    control.leave_place(folder)
    assert dear.exists()
    long = tmp_path / ("d" * 120)
    long.mkdir()
    for note in ("relative", "/" + "x" * 200, "\0", "x" * 5000):
        (long / "control.path").write_text(note)
        with pytest.raises((Unavailable, ConfigError)):
            control.call(long, GOOD)


async def test_a_folder_without_a_peer_says_how_to_start_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent", tmp_path / ("d" * 120), Path("x" * 300)):
        with pytest.raises(Unavailable, match="no peer runs"):
            control.call(folder, GOOD)


# -- who asks --------------------------------------------------------------------------------------------------------


async def test_another_user_gets_no_answer_and_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = os.geteuid() + 4711
    async with serving(tmp_path):
        path = control.socket_path(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with monkeypatch.context() as other:
            other.setattr(control, "peer_user", lambda connection: stranger)
            answer = json.loads(await raw(tmp_path, json.dumps(GOOD).encode() + b"\n"))
            assert str(stranger) in answer["error"]["message"]
            with pytest.raises(Unavailable, match=str(stranger)):
                await ask(tmp_path, GOOD)


async def test_silent_callers_do_not_keep_others_out_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.serve_control, tmp_path, echo)
        await trio.sleep(1)
        silent = []
        for _ in range(MAX_CONTROL_CALLERS):
            connection = trio.socket.socket(socket.AF_UNIX)
            await connection.connect(str(control.socket_path(tmp_path)))
            silent.append(connection)
        assert json.loads(await raw(tmp_path, json.dumps(GOOD).encode() + b"\n"))["seen"] == GOOD
        for connection in silent:
            connection.close()
        nursery.cancel_scope.cancel()


async def test_no_descriptors_left_is_no_end(autojump_clock: trio.testing.MockClock) -> None:
    class Listener:
        tries = 0

        async def accept(self) -> tuple[str, None]:
            self.tries += 1
            if self.tries < 4:
                raise OSError((errno.EMFILE, errno.ENFILE, errno.ECONNABORTED)[self.tries - 1], "no")
            return "connection", None

    assert await control._accept(Listener()) == "connection"
