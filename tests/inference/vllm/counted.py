"""Our scheduler in a real engine, whose steps are written down: a line for each, with tokens of answers, tokens of
checks, how many of those were allowed, and answers that got none. The variable COUNTED names the file."""

from __future__ import annotations

import os
from typing import Any

from p2p.inference.vllm import answers_first
from p2p.scheduling import turns

COUNTED = "FOLKMOOT_TEST_COUNTED_STEPS"


class Told(turns.Turns):
    """What it said last."""

    allowed = 0

    def tokens(self, now: float, share: float) -> int:
        self.allowed = super().tokens(now, share)
        return self.allowed


def scheduler(*args: Any, **kwargs: Any) -> Any:
    """What vLLM calls."""
    made = answers_first.scheduler(*args, **kwargs)
    made.turns = told = Told()
    inner, file = made.schedule, open(os.environ[COUNTED], "a", buffering=1)  # noqa: SIM115  # as long as the engine

    def schedule(*args: Any, **kwargs: Any) -> Any:
        answers = {one.request_id for one in (*made.running, *made.waiting) if not turns.is_check(one.priority)}
        step = inner(*args, **kwargs)
        given = step.num_scheduled_tokens
        theirs = sum(tokens for name, tokens in given.items() if name in answers)
        if given:
            checks = sum(given.values()) - theirs
            file.write(f"{theirs} {checks} {told.allowed} {len(answers - given.keys())}\n")
        return step

    made.schedule = schedule
    return made
