"""Scores of an answer are vLLM's own, and only for its tokens logits are made. vLLM's real function, a small runner."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # noqa: E402

from p2p.inference.vllm.scores import limited  # noqa: E402
from p2p.inference.vllm.tape_args import SCORE_FROM  # noqa: E402

VOCABULARY, TOP = 50, 4
EVERY = getattr(GPUModelRunner._get_prompt_logprobs_dict, "__wrapped__", GPUModelRunner._get_prompt_logprobs_dict)


class Runner:
    """What vLLM's function reads of its runner: requests of which a part of the prompt is in this step."""

    def __init__(self, prompts: dict[str, int], wanted: dict[str, int]) -> None:
        self.device, self.rows = torch.device("cpu"), 0  # rows of logits that were made
        self.num_prompt_logprobs = dict.fromkeys(wanted, TOP)
        self.requests = {
            name: SimpleNamespace(
                prompt_token_ids=[(7 * at + length) % VOCABULARY for at in range(length)], num_computed_tokens=0,
                in_progress_prompt_logprobs_cpu=None,
                sampling_params=SimpleNamespace(extra_args={SCORE_FROM: wanted[name]} if wanted.get(name) else None),
            ) for name, length in prompts.items()
        }
        self.input_batch = SimpleNamespace(req_id_to_index={name: at for at, name in enumerate(prompts)})
        self.model = SimpleNamespace(compute_logits=self.logits)
        self.model_config = SimpleNamespace(logprobs_mode="raw_logprobs")
        self.sampler = SimpleNamespace(
            compute_logprobs=lambda logits: logits.log_softmax(-1), gather_logprobs=self.gathered,
        )
        self.query_start_loc: Any = None

    def logits(self, hidden: Any) -> Any:
        self.rows += len(hidden)
        return hidden @ torch.linspace(-3, 3, 8 * VOCABULARY).reshape(8, VOCABULARY).sin()

    @staticmethod
    def gathered(logprobs: Any, count: int, ids: Any) -> Any:
        top = torch.topk(logprobs, count)
        own = logprobs.gather(-1, ids.unsqueeze(-1))
        return (
            torch.cat([ids.unsqueeze(-1), top.indices], 1), torch.cat([own, top.values], 1),
            (logprobs > own).sum(-1),
        )

    def _sync_device(self) -> None:
        pass

    def steps(self, function: Any, chunks: list[dict[str, int]]) -> dict[str, Any]:
        """Run the prompts through, chunk by chunk; the scores of each."""
        found = dict[str, Any]()
        for scheduled in chunks:
            begins, hidden = [0], []
            for name in self.requests:
                count, start = scheduled.get(name, 0), self.requests[name].num_computed_tokens
                begins.append(begins[-1] + count)
                places = torch.arange(start, start + count, dtype=torch.float32).unsqueeze(1)
                hidden.append((places * torch.arange(1, 9) + len(self.requests[name].prompt_token_ids)).cos())
            mine = SimpleNamespace(np=torch.tensor(begins).numpy())
            self.query_start_loc = mine
            found |= function(self, torch.cat(hidden), scheduled)
            assert self.query_start_loc is mine
            assert mine.np.tolist() == begins, "vLLM's own numbers stay"
            for name, count in scheduled.items():
                self.requests[name].num_computed_tokens += count
        return found


PROMPTS = {"long": 60, "plain": 20, "short": 9}
CHUNKS = [{"long": 16, "short": 9}, {"long": 24, "plain": 12}, {"long": 20, "plain": 8}]


def test_scores_are_vllms_own_from_where_they_are_wanted() -> None:
    wanted = {"long": 30, "plain": 0, "short": 9 - 2}  # in the middle of a chunk; all of it; two tokens
    right, ours = Runner(PROMPTS, wanted), Runner(PROMPTS, wanted)
    whole, found = right.steps(EVERY, CHUNKS), ours.steps(limited(EVERY), CHUNKS)
    assert found.keys() == whole.keys() == wanted.keys()
    for name, first in wanted.items():
        row = max(first - 1, 0)
        for part in ("logprob_token_ids", "logprobs", "selected_token_ranks"):
            mine, theirs = getattr(found[name], part), getattr(whole[name], part)[row:]
            assert mine.shape == theirs.shape
            assert torch.allclose(mine, theirs, atol=1e-5), (name, part)  # another product, other last bits
    assert len(found["long"].logprobs) == 60 - 30
    assert not ours.num_prompt_logprobs
    assert right.rows == 59 + 19 + 8
    assert ours.rows == 30 + 19 + 2, "no logits for tokens that nobody wants"
