"""Scores of an answer without those of its prompt. Law: a score costs what its answer is long, not its prompt.

vLLM 0.32 gives log-probabilities of a whole prompt or of none (its `prompt_logprob_start` is for chosen ids in its
second runner only). So a score names the place from which on it wants them (`folkmoot_score_from`). What lies before is
not sent, and not computed where it is a whole chunk of the prefill. The rows are the last ones of the prompt, with or
without this.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from p2p.inference.vllm.tape_args import score_from


def limit_scores() -> None:
    """Make vLLM's runner in this process give scores only from where a request wants them. A second call changes
    nothing."""
    every = getattr(GPUModelRunner, "_get_prompt_logprobs_dict", None)
    if every is None or hasattr(every, "__wrapped__"):
        return

    @wraps(every)
    def limited(
        self: Any, hidden_states: torch.Tensor, scheduled: dict[str, int]
    ) -> dict[str, LogprobsTensors | None]:
        # row i of a prompt's scores is that of its token i + 1
        first = {name: max(score_from(_extra(self, name)) - 1, 0) for name in self.num_prompt_logprobs}
        held = {
            name: self.num_prompt_logprobs.pop(name) for name, row in first.items()
            if name in scheduled and self.requests[name].num_computed_tokens + scheduled[name] <= row
        }
        try:
            found = every(self, hidden_states, scheduled)
        finally:
            self.num_prompt_logprobs.update(held)
        return {name: _from(rows, first.get(name, 0)) for name, rows in found.items()}

    GPUModelRunner._get_prompt_logprobs_dict = limited


def _extra(runner: Any, name: str) -> Any:
    params = runner.requests[name].sampling_params
    return params.extra_args if params is not None else None


def _from(rows: LogprobsTensors | None, first: int) -> LogprobsTensors | None:
    if rows is None or not first:
        return rows
    return LogprobsTensors(
        rows.logprob_token_ids[first:], rows.logprobs[first:], rows.selected_token_ranks[first:]
    )
