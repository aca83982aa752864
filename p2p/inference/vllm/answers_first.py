"""vLLM's scheduler with answers before checks. Law: what it adds is how many tokens of checks a step may have
(scheduling/turns.py); everything else is vLLM's own.

Load it with `--scheduling-policy priority --scheduler-cls p2p.inference.vllm.answers_first.scheduler`. A request's
`priority` says what it is: 0 an answer, above it a check and when it is due. By itself vLLM 0.32 orders by priority
only what waits. A check that has begun takes the token budget of every step until its prompt is read, 2,048 tokens at
a time, and each token of an answer waits for such a step. So a check in progress must sit steps out. vLLM can leave a
running request out of a step, and asks one function how many tokens a request shall have
(`_reserve_prefill_lookahead`, for a kind of speculation that the tape excludes): there. A vLLM that does not ask it
still orders by priority.

A check that sits out keeps its blocks and the scores that it has. Answers are in the batch as before, so neither the
tape nor the prefix cache sees a difference. Where blocks run out, vLLM breaks checks off first, for their priority.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.request_queue import SchedulingPolicy
from vllm.v1.core.sched.scheduler import Scheduler

from p2p.scheduling import turns


class AnswersFirst(Scheduler):  # type: ignore[misc]  # vLLM publishes no types
    """For an engine that makes one step after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turns = turns.Turns()
        self._left = 0  # tokens of checks that the step being made may still have
        self._steps: deque[tuple[float, int]] = deque()  # of steps that run: when it began, tokens of checks in it
        self._last = 0.0  # when the last step ended
        self._is_stuck = False  # checks sat out, and nothing else could go

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        now, clock = time.monotonic(), time.time()
        checks = [one for one in (*self.running, *self.waiting) if turns.is_check(one.priority)]
        share = max((turns.share(one.priority, one.arrival_time, clock) for one in checks), default=1.0)
        if self._is_stuck or len(checks) == sum(self.get_request_counts()):
            share = 1.0  # nobody is there to let pass
        self._left = allowed = self.turns.tokens(now, share)
        step = super().schedule(*args, **kwargs)
        tokens = sum(step.num_scheduled_tokens.get(one.request_id, 0) for one in checks)
        if tokens:
            self.turns.begun()
        self._is_stuck = bool(checks) and not allowed and not step.total_num_scheduled_tokens
        self._steps.append((now, tokens))
        return step

    def update_from_output(self, *args: Any, **kwargs: Any) -> Any:
        found, now = super().update_from_output(*args, **kwargs), time.monotonic()
        began, tokens = self._steps.popleft() if self._steps else (now, 0)
        if tokens:
            self.turns.ended(now, now - max(began, self._last), tokens)
        self._last = now
        return found

    def _reserve_prefill_lookahead(self, request: Any, num_computed_tokens: int, num_new_tokens: int) -> int:
        wanted: int = super()._reserve_prefill_lookahead(request, num_computed_tokens, num_new_tokens)
        if not turns.is_check(request.priority):
            return wanted
        given = min(wanted, self._left)
        self._left -= given
        return given

    def _handle_blocked_waiting_request(self, request: Any) -> bool:
        """A check whose turn it is not is deferred: it does not count as waiting for room (scheduling/metrics.py)."""
        if turns.is_check(request.priority) and self._left <= 0:
            return False
        return bool(super()._handle_blocked_waiting_request(request))


class AnswersFirstAsync(AnswersFirst, AsyncScheduler):  # type: ignore[misc]
    """For one that makes the next step while the last one runs."""


def scheduler(vllm_config: Any, *args: Any, **kwargs: Any) -> Scheduler:
    """What vLLM calls in place of its own class: that one where requests have no order."""
    is_async, policy = vllm_config.scheduler_config.async_scheduling, vllm_config.scheduler_config.policy
    if SchedulingPolicy(policy) is SchedulingPolicy.PRIORITY:
        found = AnswersFirstAsync if is_async else AnswersFirst
    else:
        found = AsyncScheduler if is_async else Scheduler
    return found(vllm_config, *args, **kwargs)
