"""An own vLLM process, started and supervised. Law: it never outlives us; ready means a warm-up request was answered.

Also `python -m p2p.inference.vllm_server --model PATH --port P --log FILE`: prints `loading ...` and `ready URL` lines.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2p.errors import Unavailable
from p2p.inference.engine import Job
from p2p.inference.vllm_engine import VllmClient
from p2p.limits import ENGINE_START_TIMEOUT_S
from p2p.types import Params

MODEL_NAME = "SmolLM2-135M-Instruct"
RESTART_DELAY_S = 2.0
Progress = Callable[[str], None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(model: Path, name: str, port: int, flags: Sequence[str]) -> list[str]:
    """vLLM's command line; `flags` (tensor or pipeline parallel, ...) come last and win."""
    cpu = [] if _has_gpu() else ["--max-model-len", "2048", "--max-num-seqs", "16"]
    # a killed peer takes its engine with it: the kernel signals the child when the parent dies (util-linux)
    bound = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    return [
        *bound, sys.executable, "-m", "p2p.inference.vllm_main", "--model", str(model), "--served-model-name", name,
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16", "--max-logprobs", "64", "--enforce-eager",
        "--logits-processors", "p2p.inference.vllm_tape:TapeProcessor", "--no-enable-prefix-caching", *cpu, *flags,
    ]


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


class VllmProcess:
    """The child: its whole process group starts and ends together."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.argv, self.log = argv, log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
               "VLLM_USE_V2_MODEL_RUNNER": "0",  # the second runner (vLLM's choice on a GPU) takes another kind of plugin
               "VLLM_CPU_ATTN_SPLIT_KV": "0"}  # a long context cut in parts adds up in another order: other bits than the prefill's
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env={**env, **os.environ}
            )

    def exit_code(self) -> int | None:
        return self._child.poll() if self._child else None

    async def stop(self) -> None:
        """SIGTERM to the group, SIGKILL after ten seconds; returns when it is gone."""
        if self._child is None:
            return
        for sign, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self._child.pid, sign)
            except ProcessLookupError:
                break
            with trio.move_on_after(patience_s):
                while self._child.poll() is None:
                    await trio.sleep(0.05)
                continue
        self._child.wait()
        self._child = None


@asynccontextmanager
async def vllm_server(
    model: Path, *, served_name: str, log: Path, port: int = 0, flags: Sequence[str] = (), progress: Progress = lambda text: None
) -> AsyncIterator[str]:
    """Start, warm up, yield the URL, restart what crashes, stop at the end. Raises Unavailable when it does not come up."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    process = VllmProcess(command(model, served_name, port, flags), log)
    process.start()
    try:
        await _until_ready(process, url, served_name, progress)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_supervise, process, url, served_name, progress)
            yield url
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await process.stop()


async def _supervise(process: VllmProcess, url: str, name: str, progress: Progress) -> None:
    while True:
        await trio.sleep(1.0)
        code = process.exit_code()
        if code is not None:
            progress(f"vLLM ended with {code}; starting it again")
            await process.stop()
            await trio.sleep(RESTART_DELAY_S)
            process.start()
            await _until_ready(process, url, name, progress)


async def _until_ready(process: VllmProcess, url: str, name: str, progress: Progress) -> None:
    client = VllmClient(url, name)
    started = trio.current_time()
    with trio.move_on_after(ENGINE_START_TIMEOUT_S):
        while not await client.health():
            if process.exit_code() is not None:
                raise Unavailable(f"vLLM ended with {process.exit_code()} while loading; see {process.log}", field="ml_node")
            progress(f"vLLM loads the model, {trio.current_time() - started:.0f} s")
            await trio.sleep(2.0)
        progress(f"vLLM warms up, {trio.current_time() - started:.0f} s")
        prompt = await client.tokenize_chat("Hello")
        async for _ in client.generate(Job(prompt, 4, Params(), bytes(32))):
            pass
        await client.score(prompt, prompt[:4], 32)
        await client.close()
        return
    raise Unavailable(f"vLLM was not ready in {ENGINE_START_TIMEOUT_S:.0f} s; see {process.log}", field="ml_node")


async def _main(options: argparse.Namespace, flags: Sequence[str]) -> None:
    def say(text: str) -> None:
        print(f"loading {text}", flush=True)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                async with vllm_server(
                    options.model, served_name=options.name, log=options.log, port=options.port, flags=flags, progress=say
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
    parser.add_argument("--name", default=MODEL_NAME)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("vllm.log"))
    options, flags = parser.parse_known_args()
    try:
        trio.run(_main, options, flags)
    except* Unavailable as errors:
        print(f"error: {errors.exceptions[0]}", file=sys.stderr)
        sys.exit(Unavailable.exit_status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
