"""Honest tokens of equal kernels: a stopped run goes on where it was, rows keep what the tape takes, and one token that
was not the tape's is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import trio

from p2p.base.errors import ConfigError, Unavailable
from p2p.lab.measure import collect, honesty, plan
from p2p.lab.measure.collect import Collector
from p2p.lab.measure.evaluate import STRATA, Evaluation
from p2p.lab.measure.redraw import Redrawn
from p2p.lab.measure.store import Answer, Measured
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.marks import MarkedRow, marks
from p2p.verification.prompts import Prompt
from p2p.verification.sampling import sampling_of
from p2p.verification.tape import gumbel_row
from testnet.simulated_engine import EOS, VOCAB, Toy

PROMPTS = tuple(Prompt(f"p-{at}", "chat", f"question {at}", 10) for at in range(12))
RUN = plan.Run("space_a", salt="sa", drawn=True)
EVERY = np.arange(VOCAB)


class ToyEngine:
    """The simulated model as an Engine, in one process; it dies after so many answers."""

    def __init__(self, dies_after: int = 10**9) -> None:
        self.toy, self.left, self.asked = Toy(1), dies_after, 0

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        if self.left <= 0:
            raise Unavailable("it died", field="ml_node")
        self.left, self.asked = self.left - 1, self.asked + 1
        state, context = sampling_of(job, frozenset(job.ends)).begin(), list(job.prompt_tokens)
        for position in range(job.max_tokens):
            row = self.toy.logprobs(context)
            token = int(np.argmax(state.scores(row, EVERY, gumbel_row(job.seed, position, VOCAB))))
            yield TokenStep(token, "", float(row[token]), tuple((int(t), float(row[t])) for t in np.argsort(-row)[:8]))
            state.accept(token)
            context.append(token)
            if token in job.ends:
                return

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        context, found = list(prompt_tokens), list[Row]()
        for token in output_tokens:
            row = self.toy.logprobs(context)
            found.append({int(t): float(row[t]) for t in [*np.argsort(-row)[:top], token]})
            context.append(token)
        return tuple(found)

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        state, context, found = sampling_of(job, frozenset(job.ends)).begin(), list(job.prompt_tokens), list[Row]()
        for token in job.prefix:
            row = self.toy.logprobs(context)
            winner, least = marks(row, state, job.seed)
            names = [*np.argsort(-row)[: top - 2], winner, least, token]
            found.append(MarkedRow({int(t): float(row[t]) for t in names}, winner, least))
            state.accept(token)
            context.append(token)
        return tuple(found)

    async def health(self) -> bool:
        return True


class Words:
    def prompt(self, body: object) -> tuple[int, ...]:
        return tuple(range(100, 120))


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collector:
    monkeypatch.setattr(collect, "PART", 3)
    monkeypatch.setattr(collect, "read_model_text", lambda folder: Words())
    monkeypatch.setattr(collect, "eos_ids", lambda folder: (EOS,))
    measured = Measured(tmp_path)
    measured.note("space", "ends", [EOS])
    measured.note("space", "seed", 5)
    return Collector(measured, tmp_path, PROMPTS, lambda text: None, (RUN,), (plan.VLLM,), 5, extras=False)


def test_a_stopped_run_goes_on_and_every_honest_token_is_the_tape_s(collector: Collector) -> None:
    measured, dying = collector.measured, ToyEngine(dies_after=7)
    with pytest.raises(ExceptionGroup):
        trio.run(collector._generate, RUN, dying)
    assert not measured.has_answers(RUN.name)
    kept = [answer.prompt for name in measured.parts().names() for answer in measured.parts().answers(name)]
    assert len(kept) == len(set(kept)) == 6
    fresh = ToyEngine()
    trio.run(collector._generate, RUN, fresh)
    assert fresh.asked == len(PROMPTS) - len(kept)
    assert [answer.prompt for answer in measured.answers(RUN.name)] == [prompt.id for prompt in PROMPTS]
    trio.run(collector._score, RUN, plan.VLLM, fresh)
    assert not list(measured.parts().directory.rglob("*.*z"))
    rows = measured.rows(RUN.name, plan.VLLM)
    marked = [all(isinstance(row, MarkedRow) for row in answer) for answer in rows if answer]
    assert any(marked)
    assert not all(marked)
    table = honesty.exact_table(evaluation_of(measured))
    every = next(row for row in table if row["honest answers"] == "all")
    assert every["answers"] == len(PROMPTS)
    assert every["lost by more than rounding"] == 0
    assert float(every["worst loss, nats"]) == 0.0
    assert {row["honest answers"] for row in table} & set(STRATA) > {"all", "a mask"}

    answers = measured.answers(RUN.name)
    at = next(at for at, row in enumerate(marked) if row)
    answers[at] = with_another(answers[at], rows[at])
    measured.put_answers(RUN.name, answers)
    again = next(row for row in honesty.exact_table(evaluation_of(measured)) if row["honest answers"] == "all")
    assert again["lost by more than rounding"] == 1
    assert float(again["worst loss, nats"]) > 0.001
    assert again["in a million, at most (95 %)"] > every["in a million, at most (95 %)"]


def evaluation_of(measured: Measured) -> Evaluation:
    halves = frozenset(p.id for p in PROMPTS[::2]), frozenset(p.id for p in PROMPTS[1::2])
    found = Evaluation(Redrawn(measured, Measured(measured.directory / "contexts")), *halves)
    found.evidence.exact_context = 100
    return found


def with_another(answer: Answer, rows: Sequence[Row]) -> Answer:
    """The last token is one that the tape did not take; the row knows its number."""
    last, row = answer.steps[-1], rows[-1]
    assert isinstance(row, MarkedRow)
    other = next(token for token in row if token not in (row.winner, last.token) and row[token] > -50)
    return Answer(
        answer.prompt, answer.seed, answer.prompt_tokens,
        (*answer.steps[:-1], TokenStep(other, "", row[other], last.top)),
    )


def test_parameters_of_another_seed_need_another_folder(collector: Collector) -> None:
    collector.space = 6
    with pytest.raises(ConfigError, match="parameters of seed 5, not 6"):
        trio.run(collector.all)
