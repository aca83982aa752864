"""Runs what the plan says and keeps the answers and scores.

Law: real engines with real weights, and what the folder holds already is not run again, down to parts of a run.

The honest engine of each stack stays up for all its runs, for the attacks on sampling, and for scoring. Altered weights
and caches get an engine of their own, for as long as their run takes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.errors import ConfigError
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import eos_ids
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import vllm_server
from p2p.lab import attacks
from p2p.lab.attacks import weights
from p2p.lab.attacks.base import Attack, collect
from p2p.lab.measure import cost, exact
from p2p.lab.measure.facts import HEADER, sampling_as
from p2p.lab.measure.plan import RUNS, TORCH, VLLM, Run, prompts_of
from p2p.lab.measure.store import Answer, Measured
from p2p.text.model_files import read_model_text
from p2p.verification.artifact import build
from p2p.verification.engine import Engine, Job, Row
from p2p.verification.marks import rows_of
from p2p.verification.prompts import Prompt
from p2p.verification.statistics import ROW_TOP

SCORES_AT_ONCE = 4  # prefills that one engine is asked for at the same time
PART = 48  # answers that are kept together while a run is not whole, and between two lines of progress
PART_MARK = "."  # between a run's name and a part's number
NO_BODY = one_message("")  # of no question: the prompt's tokens are known
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
    threads: int | None = None  # of a torch engine; None: all cores

    def work(self) -> int:
        """How many answers are still to be made or scored."""
        missing = 0
        for run in self.runs:
            answers = len(list(prompts_of(run, self.prompts)))
            missing += answers * (run.stack in self.stacks and not self.measured.has_answers(run.name))
            missing += answers * sum(self._lacks_rows(run, stack) for stack in self.stacks)
        return missing

    async def all(self) -> None:
        """Generate, score and measure what is missing. Raises ConfigError or Unavailable when an engine fails, and
        ConfigError where the folder's answers were asked for with parameters of another seed."""
        known = self.measured.noted("space").get("seed", self.space)
        if known != self.space:
            raise ConfigError(
                f"{self.measured.directory} has answers to parameters of seed {known}, not {self.space}: take another "
                f"folder, or that seed", field="space"
            )
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

        own = attack.torch_options if attack else {}
        async with torch_engine(folder, progress=self.say, threads=self.threads, **own) as engine:
            yield engine

    async def _answer(self, run: Run, honest: Engine) -> None:
        attack = attacks.get(run.attack) if run.attack else None
        if attack is None or not (attack.weights or attack.vllm_flags or attack.torch_options):
            await self._generate(run, attack.wrap(honest, honest) if attack else honest)
            return
        async with self._engine(run.stack, attack) as altered:
            await self._generate(run, attack.wrap(altered, honest))

    async def _generate(self, run: Run, engine: Engine) -> None:
        """All answers of a run. They are kept in the order in which they end, PART by PART, until the run is whole."""
        prompts, parts = list(prompts_of(run, self.prompts)), self.measured.parts()
        words, ends = read_model_text(self.model), eos_ids(self.model)
        kept = [name for name in parts.names() if name.rpartition(PART_MARK)[0] == run.name]
        found = {answer.prompt: answer for name in kept for answer in parts.answers(name)}
        fresh = list[Answer]()
        limit, started, done = trio.CapacityLimiter(run.batch), time.perf_counter(), len(found)

        def keep() -> None:
            if fresh:
                kept.append(f"{run.name}{PART_MARK}{len(kept)}")
                parts.put_answers(kept[-1], fresh)
                fresh.clear()

        async def one(prompt: Prompt) -> None:
            nonlocal done
            async with limit:
                ids = words.prompt(one_message(prompt.text))
                asked = run.asked(self.space, prompt.id, ids)
                job = Job(ids, prompt.max_tokens, asked.params, run.seed(prompt), ends=ends, bias=asked.bias)
                answer = Answer(prompt.id, job.seed.hex(), ids, tuple(await collect(engine.generate(job))))
            found[prompt.id] = answer
            fresh.append(answer)
            done += 1
            self.count(1)
            if len(fresh) >= PART:
                keep()
                self.say(f"{run.name}: {done} of {len(prompts)} answers, {time.perf_counter() - started:.0f} s")

        self.count(done)
        async with trio.open_nursery() as nursery:
            for prompt in prompts:
                if prompt.id not in found:
                    nursery.start_soon(one, prompt)
        answers, seconds = [found[prompt.id] for prompt in prompts], time.perf_counter() - started
        tokens = sum(len(a.steps) for a in answers)
        self.measured.put_answers(run.name, answers)
        for name in kept:
            parts.drop(answers=name)
        self.measured.note(
            "seconds", f"generate {run.name}", {"seconds": round(seconds, 2), "tokens": tokens, "batch": run.batch}
        )
        self.say(f"{run.name}: {tokens} tokens in {seconds:.0f} s")

    async def _score(self, run: Run, stack: str, engine: Engine) -> None:
        """One prefill per answer, as a validator does it. An answer without tokens has no rows."""
        answers, parts, started = self.measured.answers(run.name), self.measured.parts(), time.perf_counter()
        pieces = [answers[at : at + PART] for at in range(0, len(answers), PART)]
        names = [f"{run.name}{PART_MARK}{at}" for at in range(len(pieces))]
        for name, piece in zip(names, pieces, strict=True):
            if not parts.has_rows(name, stack):
                parts.put_rows(name, stack, await self._rows(run, piece, engine))
            self.count(len(piece))
        self.measured.put_rows(run.name, stack, [rows for name in names for rows in parts.rows(name, stack)])
        for name in names:
            parts.drop(rows=(name, stack))
        self.say(f"{run.name}: scored by {stack} in {time.perf_counter() - started:.0f} s")

    async def _rows(self, run: Run, answers: Sequence[Answer], engine: Engine) -> list[tuple[Row, ...]]:
        rows: list[tuple[Row, ...]] = [()] * len(answers)
        ends, limit = frozenset(eos_ids(self.model)), trio.CapacityLimiter(SCORES_AT_ONCE)

        async def one(at: int, answer: Answer) -> None:
            asked = run.asked(self.space, answer.prompt, answer.prompt_tokens)
            body = replace(NO_BODY, bias=asked.bias)
            header = replace(HEADER, params=asked.params, seed=bytes.fromhex(answer.seed))
            async with limit:
                rows[at] = await rows_of(
                    engine, answer.prompt_tokens, build(header, answer.steps), body, sampling_as(asked, ends), ROW_TOP
                )

        async with trio.open_nursery() as nursery:
            for at, answer in enumerate(answers):
                if answer.steps:
                    nursery.start_soon(one, at, answer)
        return rows

    async def _tables(self, honest: Mapping[str, Engine]) -> None:
        if VLLM not in honest or not self._missing_tables(VLLM):
            return
        engine, words = honest[VLLM], read_model_text(self.model)
        self.say("stage 0: the exact attacks")
        self.measured.note("tables", EXACT_TABLE, await exact.run(engine, words, self.prompts, eos_ids(self.model)))
        self.measured.note("tables", COST_TABLE, await cost.run(engine, words, self.prompts, self.say))
