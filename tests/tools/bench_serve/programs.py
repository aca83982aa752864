"""What other people's benchmarks say, unmodified: `vllm bench serve` and guidellm.

Law: they are run against the gateway and the vLLM in turn, with the same numbers, and only their own reports are read.
Both make their prompts at random from a seed; each run has a seed of its own, so a prefix cache has no part in them.
After a run the checks of its answers end before the next begins: the vLLM that is measured is also the validators'.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import Say
from tests.tools import clients
from tests.tools.bench_serve.network import Measured
from tests.tools.bench_serve.server import Server
from tests.tools.clients.__main__ import CACHE
from tests.tools.clients.environments import prepare
from tests.tools.clients.matrix import CLIENTS

VLLM_BENCH = str(Path(clients.__file__).parent / "scripts" / "vllm_bench_entry.py")
RUN_S = 900.0  # the longest that one run may take
TITLE = f"\n{'':44}{'network':>16}{'vLLM':>16}{'ratio':>8}"


@dataclass(frozen=True, slots=True)
class Load:
    """What a program is told to ask for."""

    streams: int  # at once
    requests: int
    prompt: int  # tokens
    answer: int  # tokens


@dataclass(frozen=True, slots=True)
class Report:
    """What a program says of one server."""

    completed: int
    first_ms: float  # median time to the first token
    tokens_s: float


Program = Callable[[Server, Load, int, Path, Path], Report]  # (server, load, seed, tokenizer, folder for its report)


def vllm_bench(server: Server, load: Load, seed: int, tokenizer: Path, folder: Path) -> Report:
    """`vllm bench serve` over chat completions."""
    _run([
        sys.executable, VLLM_BENCH, "--backend", "openai-chat",
        "--endpoint", "/v1/chat/completions", "--base-url", server.url, "--model", DEFAULT_MODEL,
        "--tokenizer", str(tokenizer), "--dataset-name", "random", "--random-input-len", str(load.prompt),
        "--random-output-len", str(load.answer), "--num-prompts", str(load.requests), "--ignore-eos",
        "--max-concurrency", str(load.streams), "--seed", str(seed), "--save-result", "--result-dir", str(folder),
        "--result-filename", "vllm.json",
    ], {"OPENAI_API_KEY": server.key})
    said = json.loads((folder / "vllm.json").read_text())
    return Report(said["completed"], said["median_ttft_ms"], said["output_throughput"])


def guidellm(server: Server, load: Load, seed: int, tokenizer: Path, folder: Path) -> Report:
    """guidellm over chat completions, in an environment of its own."""
    client = next(one for one in CLIENTS if one.name == "guidellm")
    environment = prepare(client, CACHE, lambda line: print(line, file=sys.stderr, flush=True))
    out = folder / "guidellm.json"
    backend = {
        "kind": "openai_http", "target": server.url, "model": DEFAULT_MODEL, "api_key": server.key,
        "request_format": "/v1/chat/completions",
    }
    data = {"kind": "synthetic_text", "prompt_tokens": load.prompt, "output_tokens": load.answer}
    _run([
        str(environment.folder / "bin" / "guidellm"), "run", "--backend", json.dumps(backend),
        "--profile", json.dumps({"kind": "concurrent", "streams": [load.streams]}),
        "--constraint", json.dumps({"kind": "max_requests", "count": load.requests}),
        "--tokenizer", json.dumps({"kind": "hf_auto", "model": str(tokenizer)}), "--data", json.dumps(data),
        "--seed", json.dumps({"kind": "static", "value": seed}),
        "--output", json.dumps({"kind": "json", "path": str(out)}),
        "--disable-console-interactive",
    ], {})
    metrics = json.loads(out.read_text())["benchmarks"][0]["metrics"]
    return Report(
        int(metrics["request_totals"]["successful"]),
        float(metrics["time_to_first_token_ms"]["successful"]["median"]),
        float(metrics["output_tokens_per_second"]["successful"]["mean"]),
    )


PROGRAMS: tuple[tuple[str, Program], ...] = (("vllm bench serve", vllm_bench), ("guidellm", guidellm))


def loads(widths: Sequence[int]) -> list[Load]:
    """Short prompts at each width; long ones up to 16 at once, because these cores read 300 tokens a second."""
    short = [Load(streams, max(8, streams), 64, 32) for streams in widths]
    return short + [Load(streams, max(4, streams), 1024, 32) for streams in widths if streams <= 16]


def measure(bench: Measured, widths: Sequence[int], rounds: int, say: Say) -> None:
    """Print a row for each program and load: medians of the rounds."""
    print(TITLE, flush=True)
    for name, program in PROGRAMS:
        for load in loads(widths):
            found: dict[str, list[Report]] = {server.name: [] for server in bench.both}
            for number in range(rounds):
                for at, server in enumerate(bench.both):
                    bench.settle()
                    seed = 10_000 * number + 100 * load.streams + 2 * (load.prompt > 64) + at
                    try:
                        report = program(server, load, seed, bench.tokenizer, bench.network.directory)
                    except (subprocess.SubprocessError, KeyError, OSError) as error:
                        say(f"{name}, {server.name}: {error}")
                        continue
                    found[server.name].append(report)
            _row(f"{name}, {load.streams} at once, {load.prompt} tokens", load, *found.values())


def _row(name: str, load: Load, ours: Sequence[Report], theirs: Sequence[Report]) -> None:
    if not ours or not theirs:
        print(f"{name:44}  failed: {len(ours)} and {len(theirs)} runs ended", flush=True)
        return
    one, other = (statistics.median(r.tokens_s for r in side) for side in (ours, theirs))
    print(f"{f'{name}: tokens/s':44}{one:16.1f}{other:16.1f}{one / other:8.2f}", flush=True)
    one, other = (statistics.median(r.first_ms for r in side) for side in (ours, theirs))
    print(f"{'  first token, ms':44}{one:16.1f}{other:16.1f}{one / other:8.2f}", flush=True)
    done = [f"{sum(r.completed for r in side)} of {load.requests * len(side)}" for side in (ours, theirs)]
    print(f"{'  answered':44}{done[0]:>16}{done[1]:>16}", flush=True)


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Raises CalledProcessError, TimeoutExpired; the first one's text ends with what the program said."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_S, check=False, env=os.environ | environment
    )
    if done.returncode:
        tail = (done.stderr or done.stdout)[-400:]
        raise subprocess.SubprocessError(f"ended with {done.returncode}: {tail}")
