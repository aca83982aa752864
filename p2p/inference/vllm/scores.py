"""Scores of an answer without those of its prompt. Law: a score costs what its answer is long, not its prompt.

vLLM 0.32 gives log-probabilities of a whole prompt or of none (its `prompt_logprob_start` is for chosen ids in its
second runner only). So a score names the place from which on it wants them (`folkmoot_score_from`). What lies before is
not sent, and its logits are not computed: those of 2,000 tokens and a vocabulary of 262,144 are 5 GB on the way. The
rows are the last ones of the prompt, with or without this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any

import torch
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from p2p.inference.vllm.tape_args import score_from

Scores = Callable[[Any, torch.Tensor, dict[str, int]], dict[str, LogprobsTensors | None]]


def limit_scores() -> None:
    """Make vLLM's runner in this process give scores only from where a request wants them. A second call changes
    nothing."""
    every = getattr(GPUModelRunner, "_get_prompt_logprobs_dict", None)
    if every is not None and not hasattr(every, "__wrapped__"):
        GPUModelRunner._get_prompt_logprobs_dict = limited(every)


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


def _extra(runner: Any, name: str) -> Any:
    params = runner.requests[name].sampling_params
    return params.extra_args if params is not None else None


def _from(rows: LogprobsTensors | None, first: int) -> LogprobsTensors | None:
    if rows is None or not first:
        return rows
    return LogprobsTensors(
        rows.logprob_token_ids[first:], rows.logprobs[first:], rows.selected_token_ranks[first:]
    )
