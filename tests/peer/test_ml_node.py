"""ML nodes that are not what a peer may work with, that die, and ports that others hold. The fake stands for vLLM: its
process and its HTTP."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.base.errors import ConfigError, Unavailable
from p2p.base.limits import ENGINE_SAY_S
from p2p.base.types import Params
from p2p.inference.selftest import Wanted, self_test
from p2p.inference.vllm import server
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.listeners import group_listens
from p2p.peer import ml_node as mlnode
from p2p.peer.config import DEFAULT_MODEL, NodeConfig
from p2p.peer.roles import Roles
from p2p.verification.engine import Job
from testnet.simulated_engine import BAD, EOS, VOCAB, Handler, Toy
from tests.peer.ready import ToyText

ENDS = frozenset({EOS})
TEXT: Any = ToyText()
WANTED = Wanted(DEFAULT_MODEL, 2048, ENDS, VOCAB, TEXT)


class Server(ThreadingHTTPServer):
    """One whose end is a process's: its connections end too."""

    daemon_threads = True

    def __init__(self, port: int, handler: Any) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.accepted: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.accepted.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in self.accepted:
            with suppress(OSError):  # it is closed
                connection.shutdown(socket.SHUT_RDWR)


class Fake:
    """A fake ML node in this process, whose conduct can change."""

    def __init__(self, bad: str = "", port: int = 0) -> None:
        self.handler: Any = type(
            "Fake", (Handler,), {"toy": Toy(1), "fail": "", "delay_s": 0.0, "bad": bad, "after": 0}
        )
        self.server = Server(port, self.handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.close()


async def check(url: str) -> None:
    async with server.closing(VllmClient(url, DEFAULT_MODEL)) as client:
        await self_test(client, WANTED)


async def test_an_honest_node_passes_again_and_again(fake: Fake) -> None:
    for salt in range(3):
        fake.handler.toy = Toy(salt)
        await check(fake.url)


async def test_both_answers_of_the_test_are_asked_for_at_once(fake: Fake) -> None:
    """A peer that is back from an upgrade checks nothing before its ML node has passed."""
    both, generate = threading.Barrier(2, timeout=60), fake.handler.generate

    def together(self: Any, body: Any) -> None:
        both.wait()
        generate(self, body)

    fake.handler.generate = together
    await check(fake.url)
    assert not both.broken


@pytest.mark.parametrize("bad", BAD)
async def test_a_node_that_would_have_its_honest_answers_refused_is_refused(fake: Fake, bad: str) -> None:
    fake.handler.bad = bad
    with pytest.raises(Unavailable) as caught:
        await check(fake.url)
    assert caught.value.field == "ml_node"
    assert len(caught.value.message) > 30, "it says what is wrong"


@pytest.mark.parametrize(
    "wanted", [Wanted("other", 2048, ENDS), Wanted(DEFAULT_MODEL, 4096, ENDS), Wanted(DEFAULT_MODEL, 2048, ENDS, 20)]
)
async def test_another_model_than_the_registrys_is_refused(fake: Fake, wanted: Wanted) -> None:
    async with server.closing(VllmClient(fake.url, DEFAULT_MODEL)) as client:
        with pytest.raises(Unavailable, match="not fit"):
            await self_test(client, wanted)


async def test_a_wrong_setting_is_not_tested_for_ever(fake: Fake, tmp_path: Path) -> None:
    """The caller is promised the ConfigError; it was taken for a failed test."""

    def wrong() -> Wanted:
        raise ConfigError("a setting", field="model")

    with trio.fail_after(60), pytest.raises(ConfigError):
        await mlnode.run_ml_node(
            NodeConfig(tmp_path, ml_node=fake.url), Roles(), wanted=wrong, lend=lambda found: None,
            progress=lambda text: None
        )


async def test_a_node_is_tested_again_after_each_time_it_was_gone(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlnode, "ENGINE_RETEST_S", 0.01)
    monkeypatch.setattr(mlnode, "ENGINE_WATCH_S", 0.01)
    monkeypatch.setattr(mlnode, "MISSES", 10**9)  # nobody listens: that is enough, another may come back at once
    lent: list[mlnode.ReadyEngine | None] = []
    said: list[str] = []
    changed = [trio.Event()]

    def note(found: mlnode.ReadyEngine | None) -> None:
        lent.append(found)
        changed[0].set()

    def say(text: str) -> None:
        said.append(text)
        changed[0].set()

    async def until(good: Callable[[], bool]) -> None:
        while not good():
            changed[0] = trio.Event()
            await changed[0].wait()

    fake.handler.bad = "no-tape"
    config = NodeConfig(tmp_path, ml_node=fake.url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mlnode.run_ml_node, config, Roles(), lambda: WANTED, note, say)
        await until(lambda: any("sampling tape" in text for text in said))
        assert lent == []
        fake.handler.bad = ""
        await until(lambda: bool(lent))
        assert lent[-1] is not None
        assert lent[-1].eos_ids == ENDS
        await trio.to_thread.run_sync(fake.close)
        await until(lambda: lent[-1] is None)
        again = Fake("few-logprobs", fake.port)
        await until(lambda: any("candidates" in text for text in said))
        assert lent[-1] is None, "another server came back on that port"
        again.handler.bad = ""
        await until(lambda: lent[-1] is not None)
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(again.close)
    assert lent[-1] is None, "taken back at the end"


# -- a process of its own ---------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The fake in vLLM's place, without pauses. While the file that this names is there, it dies while loading."""
    dies, sleep = tmp_path / "dies", trio.sleep
    monkeypatch.setattr(server, "ENGINE_PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(server, "ENGINE_PAUSE_MAX_S", 0.02)
    monkeypatch.setattr(trio, "sleep", lambda seconds: sleep(min(seconds, 0.02)))

    def command(model: Path, name: str, where: Any, flags: Any) -> list[str]:
        del model, name, flags
        where = [word for word in where if word not in ("--host", "127.0.0.1")]
        return [sys.executable, "-m", "testnet.simulated_engine", "--dies", str(dies), *where]

    monkeypatch.setattr(server, "command", command)
    return dies


@asynccontextmanager
async def running(tmp_path: Path, said: list[str], **more: Any) -> AsyncIterator[str]:
    options = {"served_name": DEFAULT_MODEL, "log": tmp_path / "log" / "vllm.log", "progress": said.append, **more}
    async with server.vllm_server(tmp_path, **options) as url:
        yield url


async def answers(url: str) -> bool:
    async with server.closing(VllmClient(url, DEFAULT_MODEL)) as client:
        try:
            return [step async for step in client.generate(Job((1, 2, 3), 2, Params(), bytes(32)))] != []
        except Unavailable:
            return False


def child(log: Path) -> int:
    """The fake that this test started: the one whose arguments name its folder."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"testnet.simulated_engine" in words and any(os.fsencode(log) in word for word in words):
            return int(entry.name)
    return 0


async def test_an_engine_that_dies_again_while_loading_ends_nobody(tmp_path: Path, quick: Path) -> None:
    said: list[str] = []
    async with running(tmp_path, said) as url:
        assert await answers(url)
        quick.touch()
        os.kill(child(quick), signal.SIGKILL)
        while sum("starts again" in text for text in said) < 4:
            await trio.sleep(0)
        assert any("out of memory" in text for text in said), "the end of its log is the reason"
        assert not await answers(url)
        quick.unlink()
        while not await answers(url):
            await trio.sleep(0)
    assert not child(quick), "it ends with us"


async def test_a_first_start_that_fails_says_why(tmp_path: Path, quick: Path) -> None:
    quick.touch()
    with pytest.raises(Unavailable, match="out of memory"):
        async with running(tmp_path, []):
            raise AssertionError
    with pytest.raises(Unavailable, match="cannot be started"):
        server.VllmProcess(["/nonexistent/vllm"], tmp_path / "vllm.log").start()


async def test_the_own_engine_can_be_reached_by_this_user_alone(tmp_path: Path, quick: Path) -> None:
    async with running(tmp_path, []) as url:
        place = Path(url.removeprefix("unix:"))
        assert stat.S_ISSOCK(place.stat().st_mode)
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
        inodes = {os.readlink(link) for link in Path(f"/proc/{child(quick)}/fd").iterdir()}
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert not {f"socket:[{words[9]}]" for words in table if words[3] == "0A"} & inodes, "no port"
    assert not place.parent.exists()


def test_the_place_of_a_killed_peer_is_taken_away_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "short_folder", lambda: str(tmp_path))
    (killed, lock), living = server.make_place(), server.make_place()
    os.close(lock)  # as the kernel does
    begun = tmp_path / "folkmoot-vllm-begun"
    begun.mkdir()
    folder, mine = server.make_place()
    assert not killed.exists()
    assert living[0].exists()
    assert begun.exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    os.close(living[1])
    os.close(mine)


async def test_a_port_has_a_key_that_no_user_sees(tmp_path: Path, quick: Path) -> None:
    key, port = secrets.token_hex(16), free_port()
    async with running(tmp_path, [], port=port, key=key) as url:
        assert key.encode() not in Path(f"/proc/{child(quick)}/cmdline").read_bytes()
        assert not await answers(url), "without the key"
        async with server.closing(VllmClient(url, DEFAULT_MODEL, key=key)) as client:
            assert await client.models()


async def test_who_holds_the_port_is_not_taken_for_ours_and_hears_no_key(tmp_path: Path, quick: Path) -> None:
    heard: list[str | None] = []

    class Squatter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("authorization"))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            del args

    squatter = ThreadingHTTPServer(("127.0.0.1", 0), Squatter)
    thread = threading.Thread(target=squatter.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with pytest.raises(Unavailable, match=r"another program|ended with"):
            async with running(tmp_path, [], port=squatter.server_port, key="secret"):
                raise AssertionError
    finally:
        await trio.to_thread.run_sync(squatter.shutdown)
        squatter.server_close()
    assert heard
    assert set(heard) == {None}


async def test_a_port_without_the_lock_is_not_ours(
    tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child listens, and takes any key: as if another program of ours had been started with other settings."""
    monkeypatch.setattr(server.VllmProcess, "start", without_key(server.VllmProcess.start))
    with pytest.raises(Unavailable, match="without a key"):
        async with running(tmp_path, [], port=free_port(), key="secret"):
            raise AssertionError


def without_key(start: Callable[[Any], None]) -> Callable[[Any], None]:
    def started(self: Any) -> None:
        self._key = ""
        start(self)

    return started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_who_listens_is_told_by_the_kernel() -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        port = mine.getsockname()[1]
        assert not group_listens(os.getpgid(0), port), "bound is not listening"
        mine.listen()
        assert group_listens(os.getpgid(0), port)
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
        try:
            assert not group_listens(other.pid, port)
        finally:
            other.communicate(b"\n")
    assert not group_listens(os.getpgid(0), port)


async def test_a_childs_output_is_read_bounded_and_escaped(tmp_path: Path) -> None:
    words = "import sys; sys.stdout.write('x' * 3_000_000 + '\\n\\x1b[2Jlast words\\n'); sys.exit(3)"
    process = server.VllmProcess([sys.executable, "-c", words], tmp_path / "vllm.log")
    process.start()
    while process.exit_code() is None or "last words" not in process.why():
        await trio.sleep(0.01)
    assert "\x1b" not in process.why()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1 << 20
    assert "\x1b" not in (tmp_path / "vllm.log").read_text()
    await process.stop()


@pytest.mark.parametrize(
    "flag", ["--port=1", "--port", "--host", "--uds=/x", "--api-key", "--api_key=x", "--served-model-name=x", "--por=1"]
)
def test_flags_that_make_it_another_server_are_refused(flag: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server.check_flags([flag])
    assert caught.value.field == "engine_flags"


def test_other_flags_are_the_users() -> None:
    server.check_flags(
        ["--seed=7", "--tensor-parallel-size", "2", "--max-model-len=512", "-tp", "--gpu-memory-utilization=0.5"]
    )


def test_the_same_is_said_now_and_then_only() -> None:
    now, said = [0.0], list[str]()
    say = server.quiet(said.append, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        say(f"loads, {second} s")
    assert len(said) == 1 + int(99 // ENGINE_SAY_S)
    say("something new")
    say("something new")
    assert said[-1] == "something new"
    assert said.count("something new") == 1


def test_a_key_file_is_made_once_and_for_us_only(tmp_path: Path) -> None:
    file = tmp_path / "key"
    key = server.key_of(file)
    assert len(key) == 64
    assert server.key_of(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for bad in ("", "two words", "\x00", "caf\u00e9"):
        file.write_text(bad)
        with pytest.raises(ConfigError):
            server.key_of(file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        server.key_of(file)
