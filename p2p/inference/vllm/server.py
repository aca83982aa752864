"""A vLLM process that is started and supervised here. Law: it never outlives us; it is ready when a warm-up request
was answered, and what answered is our child.

It listens on a Unix socket in a new folder that only this user can enter. So no other program on the machine can use
it, read a prompt, or take its place while it loads. With a port (`--port`, for peers on other machines) it has an API
key, and is ready only when a process of the child's own group holds the port and a request without the key is refused.

`python -m p2p.inference.vllm.server --model PATH --log FILE [--port P --key-file FILE]` does the same from a shell and
prints `loading ...` and `ready URL` lines.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import trio

from p2p.base.errors import ConfigError, FolkmootError, Unavailable
from p2p.base.files import exists, keep_private, make_folder, open_output, read_secret, short_folder
from p2p.base.limits import (
    ENGINE_PAUSE_FIRST_S,
    ENGINE_PAUSE_MAX_S,
    ENGINE_SAY_S,
    ENGINE_START_TIMEOUT_S,
    MAX_LOG_FILES,
    TASK_CALM_S,
)
from p2p.base.types import Params
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.listeners import group_listens
from p2p.machine.logs import RotatingFile, plain
from p2p.verification.engine import Job

_PREFIX = "folkmoot-vllm-"
TAIL_LINES = 6  # of its log, shown when it ends
MOST_LINE = 64 * 1024  # bytes of one line of its output
MOST_SHOWN, MOST_TAIL = 2000, 600  # characters of a log line, and of the log's end in a message
TERM_S, KILL_S = 10.0, 5.0  # how long to wait after SIGTERM, then after SIGKILL
LOOK_S, POLL_S = 1.0, 2.0  # between two looks at a running child, and at a loading one
WARM_UP = tuple(range(100, 132))  # token ids that every vocabulary has
# flags that the user may not set
OURS = ("--host", "--port", "--uds", "--api-key", "--model", "--served-model-name", "--logits-processors")
Progress = Callable[[str], None]


def check_flags(flags: Sequence[str]) -> None:
    """Raises ConfigError for a flag that the peer sets itself, abbreviated ones included."""
    for flag in flags:
        name = flag.split("=", 1)[0].replace("_", "-")
        if any(name == one or (len(name) > 3 and one.startswith(name)) for one in OURS):
            raise ConfigError(f"{flag[:60]!r} is set by the peer itself: leave it out", field="engine_flags")


def command(model: Path, name: str, where: Sequence[str], flags: Sequence[str]) -> list[str]:
    """vLLM's command line. where: flags that say where it listens; `flags` of the user come last and override ours.
    The API key is never in it, because all users of the machine can see it."""
    cpu = [] if _has_gpu() else ["--max-model-len", "2048", "--max-num-seqs", "16"]
    # a killed peer takes its engine with it: the kernel signals the child when its parent dies (util-linux)
    bound = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    return [
        *bound, sys.executable, "-m", "p2p.inference.vllm.main", "--model", str(model), "--served-model-name", name,
        *where,
        "--dtype", "bfloat16", "--max-logprobs", "64", "--enforce-eager", "--disable-uvicorn-access-log",
        "--logits-processors", "p2p.inference.vllm.tape:TapeProcessor", "--enable-prefix-caching",
        "--enable-prompt-tokens-details", "--scheduling-policy", "priority",
        "--scheduler-cls", "p2p.inference.vllm.answers_first.scheduler", *cpu, *flags,
    ]


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


class VllmProcess:
    """The child process. Its process group starts and ends as a whole; its output goes through this process into
    log files of bounded size."""

    def __init__(self, argv: list[str], log: Path, key: str = "") -> None:
        self.argv, self.log, self._key = argv, log, key
        self._child: subprocess.Popen[bytes] | None = None
        self._last: deque[str] = deque(maxlen=TAIL_LINES)
        self._file = RotatingFile(log, files=MAX_LOG_FILES)

    def start(self) -> None:
        if not exists(self.log.parent):
            make_folder(self.log.parent)
        env = {
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "VLLM_USE_V2_MODEL_RUNNER": "0",  # the second runner, vLLM's default on a GPU, takes another kind of plugin
            # splitting a long context sums in another order: other bits than the prefill's
            "VLLM_CPU_ATTN_SPLIT_KV": "0",
        }
        # a key that the user set is for another server, and we would not know it
        own = {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}
        self._last.clear()
        try:
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**env, **own, **({"VLLM_API_KEY": self._key} if self._key else {})},
            )
        except OSError as error:
            raise Unavailable(f"vLLM cannot be started: {error.strerror}", field="ml_node") from error
        assert self._child.stdout is not None
        threading.Thread(target=self._copy, args=(self._child.stdout,), name="log of vLLM", daemon=True).start()

    def _copy(self, output: IO[bytes]) -> None:
        """Copy the child's output to the log, in a thread of its own: a child whose output nobody reads stops."""
        with output:
            while line := output.readline(MOST_LINE):
                text = plain(line.decode(errors="replace").rstrip("\n"), MOST_SHOWN)
                self._last.append(text)
                self._file.write_line(text)

    @property
    def group(self) -> int:
        """Its process group; 0 when it does not run."""
        return self._child.pid if self._child else 0

    def exit_code(self) -> int | None:
        return self._child.poll() if self._child else None

    def why(self) -> str:
        """The end of its log, to be appended to a message: it often says why it ended."""
        words = " | ".join(line for line in self._last if line.strip())
        return f"; its log ends with: {words[-MOST_TAIL:]}" if words else f"; see {self.log}"

    async def stop(self) -> None:
        """SIGTERM to the group, SIGKILL after TERM_S; returns when it has ended, or KILL_S later."""
        if self._child is None:
            return
        for sign, patience_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
            try:
                os.killpg(self._child.pid, sign)
            except ProcessLookupError:
                break
            with trio.move_on_after(patience_s):
                while self._child.poll() is None:
                    await trio.sleep(0.05)
                continue
        self._child.poll()
        self._child = None
        self._file.close()  # a line that comes later opens it again


@asynccontextmanager
async def vllm_server(
    model: Path, *, served_name: str, log: Path, port: int = 0, key: str = "", socket: Path | None = None,
    flags: Sequence[str] = (), progress: Progress = lambda text: None,
) -> AsyncIterator[str]:
    """A vLLM for the block that follows: it is started and warmed up, its URL is yielded, it is restarted when it
    crashes, and stopped at the end. Raises Unavailable when it does not come up the first time.

    port: listen there on loopback, with the API key `key`, instead of on a Unix socket. socket: that socket's path,
    in a folder that others keep; None: in a new folder. flags: of vLLM. progress: gets lines for people."""
    check_flags(flags)
    folder, lock = make_place()
    place = socket or folder / "socket"
    where = ["--host", "127.0.0.1", "--port", str(port)] if port else ["--uds", str(place)]
    process = VllmProcess(command(model, served_name, where, flags), log, key)
    url = f"http://127.0.0.1:{port}" if port else f"unix:{place}"
    server = _Server(process, url, served_name, key, port, place, quiet(progress))
    try:
        await server.up()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.keep_up)
            yield server.url
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await server.process.stop()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def make_place() -> tuple[Path, int]:
    """A new folder for a socket, and the descriptor of the lock that says that it is used. Folders that killed
    peers of this user left behind are removed: nobody holds their locks."""
    for old in Path(short_folder()).glob(_PREFIX + "*"):
        try:
            if old.is_symlink() or old.stat().st_uid != os.geteuid():
                continue
            held = os.open(old / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # another peer is just making or removing it
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except OSError:
            continue  # in use
        finally:
            os.close(held)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=short_folder()))
    lock = open_output(folder / "lock.new")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "lock.new").rename(folder / "lock")  # it gets its name only when it is held
    return folder, lock


class _Server:
    """One vLLM and where it listens. place: its socket's path, used when port is 0."""

    def __init__(
        self, process: VllmProcess, url: str, name: str, key: str, port: int, place: Path, progress: Progress
    ) -> None:
        self.process, self.url, self.name, self.key = process, url, name, key
        self.port, self.place, self.progress = port, place, progress

    async def keep_up(self) -> None:
        """Restart it whenever it ends, for ever. When it does not come up, try again less and less often: the
        peer's other roles do not need it."""
        pause_s, since = ENGINE_PAUSE_FIRST_S, trio.current_time()
        while True:
            while (code := self.process.exit_code()) is None:
                await trio.sleep(LOOK_S)
            if trio.current_time() - since > TASK_CALM_S:
                pause_s = ENGINE_PAUSE_FIRST_S
            why = f"vLLM ended with {code}{self.process.why()}"
            while why:
                await self.process.stop()
                self.progress(f"{why}; it starts again in {pause_s:.0f} s")
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, ENGINE_PAUSE_MAX_S)
                try:
                    await self.up()
                    since, why = trio.current_time(), ""
                except FolkmootError as error:
                    why = error.message

    async def up(self) -> None:
        # a killed server leaves its socket behind, and the next could not listen there
        self.place.unlink(missing_ok=True)
        self.process.start()
        with trio.move_on_after(ENGINE_START_TIMEOUT_S):
            await self._until_ready()
            return
        raise Unavailable(f"vLLM was not ready in {ENGINE_START_TIMEOUT_S:.0f} s{self.process.why()}", field="ml_node")

    async def _until_ready(self) -> None:
        started = trio.current_time()
        # without the key: it must not be sent before we know that our child is listening
        async with closing(VllmClient(self.url, self.name)) as stranger:
            while not await stranger.health():
                if (code := self.process.exit_code()) is not None:
                    raise Unavailable(f"vLLM ended with {code} while loading{self.process.why()}", field="ml_node")
                self.progress(f"vLLM loads the model, {trio.current_time() - started:.0f} s")
                await trio.sleep(POLL_S)
            if self.port and not group_listens(self.process.group, self.port):
                raise Unavailable(f"port {self.port} is held by another program: choose another port", field="port")
            if self.key and await stranger.models() is not None:
                raise Unavailable(f"what answers at {self.url} accepts requests without a key", field="port")
        self.progress(f"vLLM warms up, {trio.current_time() - started:.0f} s")
        # the first request compiles kernels, which takes minutes on a busy machine; `up` limits it
        patient = VllmClient(self.url, self.name, key=self.key, first_token_s=ENGINE_START_TIMEOUT_S)
        async with closing(patient) as client:
            async for _ in client.generate(Job(WARM_UP, 4, Params(), bytes(32))):
                pass
            await client.score(WARM_UP, WARM_UP[:4], 32)


@asynccontextmanager
async def closing(client: VllmClient) -> AsyncIterator[VllmClient]:
    """Close a client's connections when the block ends, however it ends."""
    try:
        yield client
    finally:
        with trio.CancelScope(shield=True):
            await client.close()


def quiet(progress: Progress, clock: Callable[[], float] | None = None) -> Progress:
    """A `progress` that passes on a line at once when it is new, numbers aside, and a repeated one every
    ENGINE_SAY_S only."""
    now = clock or trio.current_time
    last: list[tuple[str, float]] = [("", 0.0)]

    def say(text: str) -> None:
        stem = "".join(c for c in text if not c.isdigit())
        if stem != last[0][0] or now() >= last[0][1] + ENGINE_SAY_S:
            last[0] = stem, now()
            progress(text)

    return say


def key_of(file: Path) -> str:
    """The API key in a file that only this user can read. The file is made when it is missing. Raises ConfigError,
    StorageError."""
    if not exists(file):
        with os.fdopen(open_output(file, os.O_EXCL), "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    return read_key(file)


def read_key(file: Path) -> str:
    """The API key in a file. Raises ConfigError when others can read the file, or it holds no key."""
    key = read_secret(file, 1024, field="ml_node_key").decode("ascii", "replace").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{file} holds no key: it must be one word of printable ASCII", field="ml_node_key")
    return key


async def _main(options: argparse.Namespace, flags: Sequence[str]) -> None:
    key = key_of(options.key_file) if options.key_file else ""
    name = options.name or options.model.resolve().name

    def say(text: str) -> None:
        print(f"loading {text}", flush=True)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                async with vllm_server(
                    options.model, served_name=name, log=options.log, port=options.port, key=key,
                    socket=options.socket, flags=flags, progress=say
                ) as url:
                    print(f"ready {url}", flush=True)
                    await trio.sleep_forever()

            nursery.start_soon(serve)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


def main() -> int:
    parser = argparse.ArgumentParser(description="Start one vLLM with the sampling tape and keep it up.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", help="the model's name in requests (default: the folder's)")
    parser.add_argument(
        "--port", type=int, default=0, help="on loopback; without it: a Unix socket that only this user can use"
    )
    parser.add_argument("--socket", type=Path, help="that socket's path (default: in a new folder)")
    parser.add_argument(
        "--key-file", type=Path, help="required with --port; made when it is missing; peers name it as ml_node_key"
    )
    parser.add_argument("--log", type=Path, default=Path("vllm.log"))
    options, flags = parser.parse_known_args()
    keep_private()
    try:
        if options.port and options.key_file is None:
            raise ConfigError(
                "a port is open to everybody on this machine: name a key file with --key-file", field="key_file"
            )
        trio.run(_main, options, flags)
    except* FolkmootError as errors:
        first = errors.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        print(f"error: {first}", file=sys.stderr)
        sys.exit(first.exit_status if isinstance(first, FolkmootError) else 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
