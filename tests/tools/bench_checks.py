"""`make bench-checks`: how long an answer waits in an engine that checks, with and without priorities.

One vLLM. A short question is asked alone, then while checks of a long prompt run: once without their priorities, as
any engine does them, and once with them. Rounds alternate. Last, one check alone both ways: what short steps cost it.

    python -m tests.tools.bench_checks [--rounds 3] [--prompt 4158] [--checks 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import trio

from p2p.base.types import Params
from p2p.inference.stack.model import MODEL_NAME, eos_ids, prepare_model
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing, vllm_server
from p2p.verification.engine import Engine, Job
from p2p.verification.statistics import ROW_TOP

OUTPUT, ANSWER, QUESTION = 32, 16, 40  # tokens: of an answer that is checked, of the one that waits, of its question
DUE_S = 15.0  # as in a window of 60 heights
PATIENCE_S = 600.0  # for a first token


class Bench:
    """One engine, and what was measured on it: name -> seconds of each round."""

    def __init__(self, client: VllmClient, prompt: int, checks: int) -> None:
        self.client, self.prompt, self.checks = client, prompt, checks
        self.found: dict[str, list[float]] = defaultdict(list)
        self.ends = eos_ids(prepare_model())
        self._number = self._round = 0

    async def answer(self, name: str) -> None:
        """Ask a short question that no cache knows."""
        self._number += 1
        question = tuple(range(200 + self._number, 200 + self._number + QUESTION))
        job = Job(question, ANSWER, Params(0, min_tokens=ANSWER), self._number.to_bytes(32), ends=self.ends)
        began = time.monotonic()
        async for _ in self.client.generate(job):
            if len(self.found[name + ", first token"]) < self._round:
                self.found[name + ", first token"].append(time.monotonic() - began)
        self.found[name + f", all {ANSWER}"].append(time.monotonic() - began)

    async def check(self, name: str, at: int, begun: trio.Event | None = None) -> None:
        engine: Engine = self.client.by(time.time() + DUE_S) if name == "with" else self.client
        tokens = [1000 + (7 * at + place * (at + 3)) % 20_000 for place in range(self.prompt)]
        began = time.monotonic()
        await engine.score(tokens[:-OUTPUT], tokens[-OUTPUT:], ROW_TOP)
        self.found[f"a check, {name}"].append(time.monotonic() - began)

    async def round(self, number: int) -> None:
        self._round = number
        await self.answer("alone")
        for name in ("without", "with") if number % 2 else ("with", "without"):
            async with trio.open_nursery() as nursery:
                for at in range(self.checks):
                    nursery.start_soon(self.check, name, at)
                await trio.sleep(1.0)  # they are in the engine
                await self.answer(f"{name} priorities")
        for name in ("without", "with"):
            self.found[f"a check alone, {name}"].append(await self._alone(name))

    async def _alone(self, name: str) -> float:
        began = time.monotonic()
        await self.check(name, 99)
        self.found[f"a check, {name}"].pop()
        return time.monotonic() - began

    def show(self) -> None:
        for name, values in self.found.items():
            print(f"{name:32} median {median(values):6.2f} s   worst {max(values):6.2f} s   n {len(values)}")


async def run(rounds: int, prompt: int, checks: int) -> None:
    with tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as folder:
        flags = (f"--max-model-len={max(prompt + 256, 2048)}",)
        server = vllm_server(
            prepare_model(), served_name=MODEL_NAME, log=Path(folder) / "vllm.log", flags=flags,
            progress=lambda text: print(text, file=sys.stderr),
        )
        async with server as url, closing(VllmClient(url, MODEL_NAME, first_token_s=PATIENCE_S)) as client:
            bench = Bench(client, prompt, checks)
            for number in range(1, rounds + 1):
                await bench.round(number)
                print(f"round {number} of {rounds}", file=sys.stderr)
            bench.show()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How long an answer waits in an engine that checks.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=4158, help="tokens of the prompt that is checked")
    parser.add_argument("--checks", type=int, default=3, help="that run at once")
    options = parser.parse_args(argv)
    trio.run(run, options.rounds, options.prompt, options.checks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
