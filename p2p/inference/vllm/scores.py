"""Scores of an answer without those of its prompt, and with the tape's own choices. Law: a score costs what its answer
is long, not its prompt.

vLLM 0.32 gives log-probabilities of a whole prompt or of none (its `prompt_logprob_start` is for chosen ids in its
second runner only). So a score names the place from which on it wants them (`folkmoot_score_from`). What lies before is
not sent, and its logits are not computed: those of 2,000 tokens and a vocabulary of 262,144 are 5 GB on the way. The
rows are the last ones of the prompt, with or without this.

A score that carries a tape is replayed (verification/marks.py): the last two of a row's candidates are the token that
the tape takes there by the whole vocabulary, and the least one inside the masks. No other token has their ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from p2p.inference.vllm.tape_args import TapeArgs, replayed, score_from
from p2p.verification.marks import MARKS, marks
from p2p.verification.sampling import Sampling

SamplingOf = Callable[[TapeArgs], Sampling | None]  # None: its grammar cannot be had
Scores = Callable[[Any, torch.Tensor, dict[str, int]], dict[str, LogprobsTensors | None]]


def limit_scores(sampling_of: SamplingOf) -> None:
    """Make vLLM's runner in this process give scores only from where a request wants them, and replay those that carry
    a tape. A second call changes nothing."""
    every = getattr(GPUModelRunner, "_get_prompt_logprobs_dict", None)
    if every is not None and not hasattr(every, "__wrapped__"):
        GPUModelRunner._get_prompt_logprobs_dict = replaying(limited(every), sampling_of)


def limited(every: Scores) -> Scores:
    """vLLM's function, told of each chunk of a prompt only the tokens from the first wanted row on. So the logits of
    the others, a whole vocabulary for each token, are never made."""

    @wraps(every)
    def wanted(self: Any, hidden_states: torch.Tensor, scheduled: dict[str, int]) -> dict[str, LogprobsTensors | None]:
        # row i of a prompt's scores is that of its token i + 1
        first = {name: max(score_from(_extra(self, name)) - 1, 0) for name in self.num_prompt_logprobs}
        skipped = {
            name: min(max(row - self.requests[name].num_computed_tokens, 0), scheduled[name])
            for name, row in first.items() if name in scheduled
        }
        held = {
            name: self.num_prompt_logprobs.pop(name) for name, count in skipped.items()
            if count and count == scheduled[name]
        }
        moved = {name: count for name, count in skipped.items() if count and name not in held}
        begins = self.query_start_loc
        try:
            if moved:  # a copy, since a device may still be reading vLLM's own
                self.query_start_loc = SimpleNamespace(np=begins.np.copy())
            for name, count in moved.items():
                self.query_start_loc.np[self.input_batch.req_id_to_index[name]] += count
                self.requests[name].num_computed_tokens += count
            found = every(self, hidden_states, {name: count - moved.get(name, 0) for name, count in scheduled.items()})
        finally:
            self.query_start_loc = begins
            for name, count in moved.items():
                self.requests[name].num_computed_tokens -= count
            self.num_prompt_logprobs.update(held)
        return {name: _from(rows, first.get(name, 0)) for name, rows in found.items()}

    return wanted


def replaying(some: Scores, sampling_of: SamplingOf) -> Scores:
    """The same, in which each request that carries a tape is scored alone, and gets its marks."""

    @wraps(some)
    def scored(self: Any, hidden_states: torch.Tensor, scheduled: dict[str, int]) -> dict[str, LogprobsTensors | None]:
        wanted, left = self.num_prompt_logprobs, dict[str, int]()
        tapes = {name: args for name in wanted if (args := replayed(_extra(self, name))) is not None}
        alone = {name: wanted.pop(name) for name in tapes}
        try:
            found = some(self, hidden_states, scheduled)
            left |= wanted
            for name, number in alone.items():
                wanted.clear()
                wanted[name] = number
                with _replaying(self, name, tapes[name], sampling_of(tapes[name])):
                    found |= some(self, hidden_states, scheduled)
                left |= wanted
        finally:
            wanted.clear()
            wanted.update(left)
        return found

    return scored


@contextmanager
def _replaying(runner: Any, name: str, args: TapeArgs, sampling: Sampling | None) -> Iterator[None]:
    """For the block that follows, what vLLM gathers is of the request `name` alone, and gets its marks."""
    request, sampler = runner.requests[name], runner.sampler
    gather = sampler.gather_logprobs

    def marked(logprobs: torch.Tensor, number: int, token_ids: torch.Tensor) -> LogprobsTensors:
        found = gather(logprobs, number, token_ids)
        if sampling is not None:
            tokens = request.prompt_token_ids
            row = request.num_computed_tokens  # its token is the next one
            _mark(found, logprobs, tokens, row, max(score_from(_extra(runner, name)), 1), args, sampling)
        return found

    sampler.gather_logprobs = marked
    try:
        yield
    finally:
        del sampler.gather_logprobs


def _mark(
    found: LogprobsTensors, logprobs: torch.Tensor, tokens: list[int], row: int, first: int, args: TapeArgs,
    sampling: Sampling,
) -> None:
    """Write the marks into the last columns of `found`. row: place of the first of `logprobs` in the prompt. first: of
    the first token that is scored. A chunk begins its replay anew, which costs little and cannot go wrong."""
    ids, values, ranks = found.logprob_token_ids, found.logprobs, found.selected_token_ranks
    ranks.clamp_(max=ids.shape[1] - 1 - MARKS)
    state = sampling.begin(tokens[len(tokens) - args.position : max(row + 1, first)])
    for at in range(max(first - row - 1, 0), len(logprobs)):
        line = logprobs[at].to(torch.float64).cpu().numpy()
        both = marks(line, state, args.seed)
        ids[at, -MARKS:] = torch.tensor(both, dtype=ids.dtype, device=ids.device)
        values[at, -MARKS:] = torch.tensor(np.array(line[list(both)]), dtype=values.dtype, device=values.device)
        state.accept(tokens[row + 1 + at])


def _extra(runner: Any, name: str) -> Any:
    params = runner.requests[name].sampling_params
    return params.extra_args if params is not None else None


def _from(rows: LogprobsTensors | None, first: int) -> LogprobsTensors | None:
    if rows is None or not first:
        return rows
    return LogprobsTensors(
        rows.logprob_token_ids[first:], rows.logprobs[first:], rows.selected_token_ranks[first:]
    )
