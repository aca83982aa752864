"""Runs what the plan says and keeps the answers and scores.

Law: real engines with real weights, and what the folder holds already is not run again.

The honest engine of each stack stays up for all its runs, for the attacks on sampling, and for scoring. Altered weights
and caches get an engine of their own, for as long as their run takes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import eos_ids
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import vllm_server
from p2p.lab import attacks
from p2p.lab.attacks import weights
from p2p.lab.attacks.base import Attack, collect
from p2p.lab.measure import cost, exact
from p2p.lab.measure.plan import RUNS, TORCH, VLLM, Run, prompts_of
from p2p.lab.measure.store import Answer, Measured
from p2p.text.model_files import read_model_text
from p2p.verification.engine import Engine, Job, Row
from p2p.verification.prompts import Prompt
from p2p.verification.statistics import ROW_TOP

SCORES_AT_ONCE = 4  # prefills that one engine is asked for at the same time
PROGRESS = 48  # answers between two lines of progress
EXACT_TABLE, COST_TABLE = "Refused exactly, without a model", "What a check costs (vLLM, this machine)"
Say = Callable[[str], None]


def _count_nothing(more: int) -> None:
    return


@dataclass(slots=True)
class Collector:
    """Fills a folder of results; `all` does everything that is missing."""

    measured: Measured
    model: Path  # folder of the claimed weights
    prompts: tuple[Prompt, ...]  # in the order of the shipped list
    say: Say  # takes lines of progress
    runs: tuple[Run, ...] = RUNS  # rows of the plan that are wanted
    stacks: tuple[str, ...] = (VLLM, TORCH)  # stacks that generate and score
    space: int = 1  # seed of the parameters that some runs draw
    extras: bool = True  # also measure the tables of exact attacks and of costs, on vLLM
    count: Callable[[int], None] = _count_nothing  # so many answers more were made or scored

    def work(self) -> int:
        """How many answers are still to be made or scored."""
        missing = 0
        for run in self.runs:
            answers = len(list(prompts_of(run, self.prompts)))
            missing += answers * (run.stack in self.stacks and not self.measured.has_answers(run.name))
            missing += answers * sum(not self.measured.has_rows(run.name, stack) for stack in self.stacks)
        return missing

    async def all(self) -> None:
        """Generate, score and measure what is missing. Raises ConfigError or Unavailable when an engine fails."""
        self.measured.note("space", "seed", self.space)
        self.measured.note("space", "ends", eos_ids(self.model))
        async with AsyncExitStack() as opened:
            honest = {}
            for stack in self.stacks:
                if self._has_work(stack):
                    honest[stack] = await opened.enter_async_context(self._engine(stack, None))
                    if stack == VLLM:
                        self.measured.note("stacks", stack, await stack_name(honest[stack], stack))
            for run in self._wanted():
                if run.stack in honest and not self.measured.has_answers(run.name):
                    await self._answer(run, honest[run.stack])
                for stack, engine in honest.items():
                    if self.measured.has_answers(run.name) and self._lacks_rows(run, stack):
                        await self._score(run, stack, engine)
            await self._tables(honest)

    def _wanted(self) -> list[Run]:
        return [run for run in self.runs if not run.redrawn]

    def _has_work(self, stack: str) -> bool:
        """Whether this stack has still to generate, to score, or to measure a table."""
        answers = all(run.stack != stack or self.measured.has_answers(run.name) for run in self._wanted())
        rows = not any(self._lacks_rows(run, stack) for run in self._wanted())
        return not answers or not rows or self._missing_tables(stack)

    def _lacks_rows(self, run: Run, stack: str) -> bool:
        return run.scored_by(stack) and not self.measured.has_rows(run.name, stack)

    def _missing_tables(self, stack: str) -> bool:
        return self.extras and stack == VLLM and not {EXACT_TABLE, COST_TABLE} <= set(self.measured.noted("tables"))

    @asynccontextmanager
    async def _engine(self, stack: str, attack: Attack | None) -> AsyncIterator[Engine]:
        """An engine of `stack`: with the right weights, or altered as `attack` alters it."""
        folder, name = self.model, attack.name if attack else "honest"
        if attack and attack.weights:
            folder = await trio.to_thread.run_sync(weights.prepare, attack.weights, self.say, self.model)
        if stack == VLLM:
            log, flags = self.measured.directory / "log" / f"{name}.log", attack.vllm_flags if attack else ()
            async with vllm_server(folder, served_name=self.model.name, log=log, flags=flags, progress=self.say) as url:
                client = VllmClient(url, self.model.name)
                try:
                    yield client
                finally:
                    await client.close()
            return
        from p2p.inference.torch.engine import torch_engine  # torch takes seconds to import

        async with torch_engine(folder, progress=self.say, **(attack.torch_options if attack else {})) as engine:
            yield engine

    async def _answer(self, run: Run, honest: Engine) -> None:
        attack = attacks.get(run.attack) if run.attack else None
        if attack is None or not (attack.weights or attack.vllm_flags or attack.torch_options):
            await self._generate(run, attack.wrap(honest, honest) if attack else honest)
            return
        async with self._engine(run.stack, attack) as altered:
            await self._generate(run, attack.wrap(altered, honest))

    async def _generate(self, run: Run, engine: Engine) -> None:
        prompts = list(prompts_of(run, self.prompts))
        words, ends = read_model_text(self.model), eos_ids(self.model)
        found: list[Answer | None] = [None] * len(prompts)
        limit, started, done = trio.CapacityLimiter(run.batch), time.perf_counter(), 0

        async def one(at: int, prompt: Prompt) -> None:
            nonlocal done
            async with limit:
                ids = words.prompt(one_message(prompt.text))
                asked = run.asked(self.space, prompt.id, ids)
                job = Job(ids, prompt.max_tokens, asked.params, run.seed(prompt), ends=ends, bias=asked.bias)
                found[at] = Answer(prompt.id, job.seed.hex(), ids, tuple(await collect(engine.generate(job))))
            done += 1
            self.count(1)
            if done % PROGRESS == 0:
                self.say(f"{run.name}: {done} of {len(prompts)} answers, {time.perf_counter() - started:.0f} s")

        async with trio.open_nursery() as nursery:
            for at, prompt in enumerate(prompts):
                nursery.start_soon(one, at, prompt)
        answers, seconds = [a for a in found if a is not None], time.perf_counter() - started
        tokens = sum(len(a.steps) for a in answers)
        self.measured.put_answers(run.name, answers)
        self.measured.note(
            "seconds", f"generate {run.name}", {"seconds": round(seconds, 2), "tokens": tokens, "batch": run.batch}
        )
        self.say(f"{run.name}: {tokens} tokens in {seconds:.0f} s")

    async def _score(self, run: Run, stack: str, engine: Engine) -> None:
        """One prefill per answer. An answer without tokens has no rows."""
        answers = self.measured.answers(run.name)
        rows: list[tuple[Row, ...]] = [()] * len(answers)
        limit, started = trio.CapacityLimiter(SCORES_AT_ONCE), time.perf_counter()

        async def one(at: int, answer: Answer) -> None:
            async with limit:
                rows[at] = await engine.score(answer.prompt_tokens, answer.tokens, ROW_TOP)
            self.count(1)

        async with trio.open_nursery() as nursery:
            for at, answer in enumerate(answers):
                if answer.steps:
                    nursery.start_soon(one, at, answer)
        self.measured.put_rows(run.name, stack, rows)
        self.say(f"{run.name}: scored by {stack} in {time.perf_counter() - started:.0f} s")

    async def _tables(self, honest: Mapping[str, Engine]) -> None:
        if VLLM not in honest or not self._missing_tables(VLLM):
            return
        engine, words = honest[VLLM], read_model_text(self.model)
        self.say("stage 0: the exact attacks")
        self.measured.note("tables", EXACT_TABLE, await exact.run(engine, words, self.prompts, eos_ids(self.model)))
        self.measured.note("tables", COST_TABLE, await cost.run(engine, words, self.prompts, self.say))
