"""Continuous batching: sequences join and leave one batch between steps. Law: each row has its own tape, length and
end; an error of one row ends that row only.

    for index, step in decode_batch(model, jobs, max_rows=16): ...
    steps = generate_all(model, jobs)  # the same, collected: one list per job

Row i of the batch is slot i of the cache. When a row leaves, the last one takes its slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import p2p.inference.torch.quiet  # noqa: F401  # isort: skip  # before torch
import numpy as np
import torch
from numpy.typing import NDArray

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_ENGINE_ROWS, MAX_OUTPUT_TOKENS, PREFILL_TOKENS, TOP_RANKS
from p2p.inference.torch.cache import Decode, Prefill
from p2p.inference.torch.model import TorchModel
from p2p.text.vocabulary import TextStream
from p2p.verification.engine import Job, TokenStep
from p2p.verification.pick import pick
from p2p.verification.sampling import SamplingState


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one row in a step: a token, or an error that ended it."""

    tag: Hashable  # the caller's name of the row
    step: TokenStep | None  # None with an error
    last: bool  # the row is gone
    error: Exception | None = None


@dataclass(slots=True)
class Row:
    """One sequence in the batch."""

    tag: Hashable
    job: Job
    text: TextStream
    state: SamplingState
    output: list[int] = field(default_factory=list)  # the job's prefix included, `begun` not
    cached: int = 0  # tokens whose keys and values are in the slot: all but the newest output token


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a pass says of some places, a line each."""

    table: NDArray[np.float32]  # log-probabilities over the vocabulary
    tops: list[list[int]]  # the TOP_RANKS best tokens
    values: list[list[float]]  # and their log-probabilities


def draw(model: TorchModel, hidden: torch.Tensor) -> Drawn:
    """hidden: last hidden states, shape (places, hidden)."""
    logprobs = torch.log_softmax(model.logits(hidden), dim=1)
    best = torch.topk(logprobs, TOP_RANKS, dim=1)
    return Drawn(logprobs.cpu().numpy(), best.indices.tolist(), best.values.tolist())


class Decoder:
    """A batch of at most max_rows sequences."""

    def __init__(self, model: TorchModel, max_rows: int = MAX_ENGINE_ROWS) -> None:
        self._model, self._max = model, max_rows
        self._rows: list[Row] = []
        self._cache = model.new_cache(max_rows)

    @property
    def free(self) -> int:
        """How many more sequences fit."""
        return self._max - len(self._rows)

    @property
    def tags(self) -> list[Hashable]:
        return [row.tag for row in self._rows]

    def check(self, job: Job) -> None:
        """Raises InvalidRequest for a job that cannot run here."""
        if not job.prompt_tokens:
            raise InvalidRequest("a prompt needs at least one token", field="prompt_tokens")
        if not 0 <= job.max_tokens <= MAX_OUTPUT_TOKENS:
            raise InvalidRequest(f"max_tokens must be from 0 to {MAX_OUTPUT_TOKENS}", field="max_tokens")
        self._model.check(
            [*job.prompt_tokens, *job.begun, *job.prefix], max(job.max_tokens - len(job.prefix), 0)
        )
        self._model.sampling(job)

    def add(self, jobs: Sequence[tuple[Hashable, Job]]) -> list[Event]:
        """Prefill new rows and give their first tokens. jobs: at most `free`, checked, each with tokens left to
        generate. The caller bounds the pass to about PREFILL_TOKENS tokens (`admit`)."""
        assert len(jobs) <= self.free
        fresh = [self._row(tag, job) for tag, job in jobs]
        rows = [[*row.job.prompt_tokens, *row.job.begun, *row.job.prefix] for row in fresh]
        for row, tokens in zip(fresh, rows, strict=True):
            row.cached = len(tokens)
        self._cache.place = Prefill(len(self._rows))
        with torch.inference_mode():
            hidden = self._model.forward(rows, self._cache)
            ends = hidden[torch.arange(len(rows)), torch.tensor([len(tokens) - 1 for tokens in rows])]
            self._rows += fresh
            return self._take(fresh, ends)

    def _row(self, tag: Hashable, job: Job) -> Row:
        text = TextStream(self._model.vocabulary, [*job.begun, *job.prefix])
        return Row(tag, job, text, self._model.sampling(job).begin(job.prefix), [*job.prefix])

    def step(self) -> list[Event]:
        """One token for every row."""
        if not self._rows:
            return []
        with torch.inference_mode():
            return self._step()

    def _step(self) -> list[Event]:
        rows, device = list(self._rows), self._model.device
        lengths = torch.tensor([row.cached for row in rows], dtype=torch.int64, device=device)
        width = max(row.cached for row in rows) + 1
        hidden_from = torch.arange(width, device=device).unsqueeze(0) > lengths.unsqueeze(1)
        mask = torch.zeros((len(rows), 1, 1, width), dtype=getattr(torch, self._model.dtype), device=device)
        mask.masked_fill_(hidden_from[:, None, None, :], float("-inf"))
        self._cache.place = Decode(lengths, torch.arange(len(rows), device=device), width)
        ids = torch.tensor([row.output[-1] for row in rows], dtype=torch.int64, device=device)
        hidden = self._model.forward_next(ids, lengths, mask, self._cache)
        for row in rows:
            row.cached += 1
        return self._take(rows, hidden)

    def drop(self, tag: Hashable) -> None:
        """Take a row out of the batch, finished or not. An unknown tag is no error."""
        at = next((i for i, row in enumerate(self._rows) if row.tag == tag), None)
        if at is None:
            return
        last = len(self._rows) - 1
        if at != last:
            self._cache.move(last, at, self._rows[last].cached)
            self._rows[at] = self._rows[last]
        self._rows.pop()

    def clear(self) -> list[Hashable]:
        """Empty the batch after an error of the whole; returns the tags that were in it."""
        tags = self.tags
        self._rows, self._cache = [], self._model.new_cache(self._max)
        return tags

    def _take(self, rows: Sequence[Row], hidden: torch.Tensor) -> list[Event]:
        drawn = draw(self._model, hidden)
        return self._drop_ended([self._choose(row, drawn, at) for at, row in enumerate(rows)])

    def _drop_ended(self, events: list[Event]) -> list[Event]:
        for event in events:
            if event.last:
                self.drop(event.tag)
        return events

    def _choose(self, row: Row, drawn: Drawn, at: int) -> Event:
        """The row's next token, by line `at` of what was drawn."""
        try:
            token = pick(drawn.table[at], row.state, row.job.seed)
            top = tuple(zip(drawn.tops[at], drawn.values[at], strict=True))
            return self._event(row, token, float(drawn.table[at, token]), top)
        except Exception as error:  # whatever is wrong with one row must not end the others
            return Event(row.tag, None, True, error)

    def _event(self, row: Row, token: int, logprob: float, top: tuple[tuple[int, float], ...]) -> Event:
        row.output.append(token)
        row.state.accept(token)
        last = token in row.state.sampling.ends or len(row.output) >= row.job.max_tokens
        return Event(row.tag, TokenStep(token, row.text.add(token), logprob, top), last)


def admit(waiting: Sequence[Job], free: int) -> int:
    """How many of the first `waiting` jobs may be prefilled in one pass: of PREFILL_TOKENS tokens with padding, or
    one job alone whatever its length."""
    longest = 0
    for count, job in enumerate(waiting[:free]):
        longest = max(longest, len(job.prompt_tokens) + len(job.begun) + len(job.prefix))
        if count and longest * (count + 1) > PREFILL_TOKENS:
            return count
    return min(free, len(waiting))


def decode_batch(
    model: TorchModel, jobs: Sequence[Job], max_rows: int = MAX_ENGINE_ROWS,
    decoder: Callable[[TorchModel, int], Decoder] = Decoder,
) -> Iterator[tuple[int, TokenStep]]:
    """Yields (index of the job, its next token), jobs interleaved; a finished one makes room for the next. Raises
    InvalidRequest before anything runs when a job cannot run, and later the first error of a row."""
    batch = decoder(model, max_rows)
    for job in jobs:
        batch.check(job)
    waiting = deque((index, job) for index, job in enumerate(jobs) if job.max_tokens > len(job.prefix))
    while waiting or batch.tags:
        events = batch.step()
        # a prefill pass for one job costs as much as one for four: wait until a few places are free
        if waiting and (batch.free >= max(1, max_rows // 4) or not batch.tags):
            count = admit([job for _, job in waiting], batch.free)
            events += batch.add([waiting.popleft() for _ in range(count)])
        for event in events:
            if event.error is not None:
                raise event.error
            assert isinstance(event.tag, int)
            assert event.step is not None
            yield event.tag, event.step


def generate_all(
    model: TorchModel, jobs: Sequence[Job], max_rows: int = MAX_ENGINE_ROWS,
    decoder: Callable[[TorchModel, int], Decoder] = Decoder,
) -> list[list[TokenStep]]:
    """All tokens of each job, in the order of the jobs."""
    found: list[list[TokenStep]] = [[] for _ in jobs]
    for index, step in decode_batch(model, jobs, max_rows, decoder):
        found[index].append(step)
    return found
