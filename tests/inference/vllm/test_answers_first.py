"""Answers before checks, in vLLM's own schedulers with vLLM's own requests: what each step of an engine is made of.

No model runs: the steps that the scheduler makes are answered by hand, and time is what they would take on a small
machine. So tokens and steps are counted, and nothing depends on this machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from p2p.base.serving_limits import CHECK_SHARE, CHECK_STEP_S
from p2p.inference.stack.model import prepare_model

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.engine
BUDGET, BLOCK = 2048, 32  # tokens of a step, of a block
CHECK, CHECKS, ANSWER = 4158, 3, 400  # tokens of a check's prompt; checks; tokens of an answer
DUE = 1 << 40  # later than the test's clock gets
LEAST_S, TOKEN_S = 0.02, 0.0004  # of a step, and for each of its tokens


@dataclass
class Engine:
    """An engine without a model. depth: steps that are made before the first of them has run."""

    scheduler: Any
    depth: int
    clock: SimpleNamespace
    running: deque[tuple[Any, dict[str, bool]]] = field(default_factory=deque)
    steps: list[dict[str, int]] = field(default_factory=list)  # tokens by request
    ended: list[str] = field(default_factory=list)

    def add(self, name: str, tokens: int, most: int, priority: int) -> None:
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        params = SamplingParams(max_tokens=most, ignore_eos=True)
        self.scheduler.add_request(Request(
            name, list(range(100, 100 + tokens)), params, None, arrival_time=self.clock.now, priority=priority,
        ))

    def step(self) -> None:
        made = self.scheduler.schedule()
        given = dict(made.num_scheduled_tokens)
        if given:
            self.steps.append(given)
        says = {name: not self.scheduler.requests[name].is_prefill_chunk for name in given}
        self.running.append((made, says))
        if len(self.running) < self.depth and given:
            return
        self._run()

    def _run(self) -> None:
        from vllm.v1.outputs import ModelRunnerOutput

        made, says = self.running.popleft()
        self.clock.now += seconds(sum(made.num_scheduled_tokens.values()))
        names = list(says)
        sampled = [[7] if says[name] else [] for name in names]
        self.scheduler.update_from_output(
            made, ModelRunnerOutput(names, {name: at for at, name in enumerate(names)}, sampled)
        )
        self.ended += [name for name in names if name not in self.scheduler.requests]


def seconds(tokens: int) -> float:
    return LEAST_S + TOKEN_S * tokens if tokens else 0.001


Make = Callable[..., Any]


def engine(make: Make, is_async: bool, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "0")  # as server.py
    import torch
    from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    from p2p.inference.vllm import answers_first

    clock = SimpleNamespace(now=1e9)
    told = SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now)
    monkeypatch.setattr(answers_first, "time", told)
    config = VllmConfig(
        model_config=ModelConfig(model=str(prepare_model()), dtype="bfloat16", max_model_len=8192),
        scheduler_config=SchedulerConfig(
            max_num_seqs=16, max_num_batched_tokens=BUDGET, max_model_len=8192, is_encoder_decoder=False,
            enable_chunked_prefill=True, policy="priority",
        ),
        cache_config=CacheConfig(block_size=BLOCK, enable_prefix_caching=False),
    )
    config.scheduler_config.async_scheduling = is_async  # vLLM takes it back where the device is a CPU
    config.cache_config.num_gpu_blocks = 4096
    group = KVCacheGroupSpec(["layer"], FullAttentionSpec(
        block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.bfloat16,
    ))
    scheduler = make(
        config, kv_cache_config=KVCacheConfig(4096, [], [group]), block_size=BLOCK,
        structured_output_manager=StructuredOutputManager(config),
    )
    return Engine(scheduler, 2 if is_async else 1, clock)


def an_answer_comes(found: Engine) -> tuple[list[dict[str, int]], list[str]]:
    """(the steps from the moment when an answer comes to its end, everything in the order in which it ended)."""
    for at in range(CHECKS):
        found.add(f"check {at}", CHECK, 1, DUE)
    for _ in range(3):
        found.step()
    assert found.steps, "checks alone have the engine"
    before = len(found.steps)
    found.add("answer", 20, ANSWER, 0)
    while "answer" not in found.ended:
        found.step()
        assert len(found.steps) < before + 10 * ANSWER
    steps = found.steps[before:]
    for _ in range(5000):
        if len(found.ended) > CHECKS:
            return steps, found.ended
        found.step()
    raise AssertionError(f"only {found.ended} came to an end")


def checks_in(step: dict[str, int]) -> int:
    return sum(tokens for name, tokens in step.items() if name != "answer")


def comes_first(steps: list[dict[str, int]], ended: list[str], depth: int) -> None:
    """The answer has a token in every step, and checks have the share of the time that is theirs."""
    without = sum("answer" not in step for step in steps)
    assert without <= depth - 1, f"{without} of {len(steps)} steps were without the answer"
    assert len(steps) <= ANSWER + 2 * depth
    theirs = [step for step in steps if checks_in(step)]
    assert theirs, "a check goes on all the same"
    spent = sum(seconds(sum(step.values())) for step in theirs)
    assert spent <= CHECK_SHARE * sum(seconds(sum(step.values())) for step in steps) + CHECK_STEP_S
    assert all(seconds(sum(step.values())) < 1.5 * CHECK_STEP_S for step in theirs)
    assert sum(map(checks_in, steps)) < CHECK, "not even one check was read"
    assert ended[0] == "answer"


def ours(*args: Any, **kwargs: Any) -> Any:
    from p2p.inference.vllm import answers_first

    return answers_first.scheduler(*args, **kwargs)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_answer_comes_before_checks_that_have_begun(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    found = engine(ours, is_async, monkeypatch)
    assert isinstance(found.scheduler, AsyncScheduler) == is_async
    steps, ended = an_answer_comes(found)
    comes_first(steps, ended, found.depth)
    assert sorted(ended[1:]) == [f"check {at}" for at in range(CHECKS)], "and checks come to their end"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("broken", ["vLLM's own, with priorities", "nobody limits a check in progress"])
def test_a_scheduler_without_turns_is_seen(broken: str, is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler

    from p2p.inference.vllm import answers_first

    make: Make = AsyncScheduler if is_async else Scheduler
    if not broken.startswith("vLLM"):
        kind = answers_first.AnswersFirstAsync if is_async else answers_first.AnswersFirst
        make = type("Broken", (kind,), {"_reserve_prefill_lookahead": Scheduler._reserve_prefill_lookahead})
    found = engine(make, is_async, monkeypatch)
    steps, ended = an_answer_comes(found)
    assert sum(map(checks_in, steps)) > CHECK
    assert ended[-1] == "answer"
    with pytest.raises(AssertionError):
        comes_first(steps, ended, found.depth)
