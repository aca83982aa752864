"""The goals of the design, with the figure that was measured in each row.

Law: a row's figure is read off the curves, and what is not met is shown as not met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from p2p.lab.measure.evaluate import LENGTHS, Curve
from p2p.lab.measure.plan import RELABELLED, TORCH, VLLM


@dataclass(frozen=True, slots=True)
class Goal:
    """A case is to be detected at a rate of at least `rate` in answers of at most `tokens` tokens."""

    text: str  # for people
    case: str  # as in evaluate.py
    executor: str  # stack that answers
    validator: str  # stack that checks
    rate: float
    tokens: int


def _goal(text: str, case: str, rate: float, tokens: int, executor: str = VLLM, validator: str = VLLM) -> Goal:
    return Goal(text, case, executor, validator, rate, tokens)


GOALS = (
    _goal("laundered smaller model", "laundered_smaller_model", 0.999, 32),
    _goal("laundered int4", "laundered_int4", 0.999, 32),
    _goal("laundered int4, temperature tuned", "laundered_temperature_tuned_int4", 0.999, 32),
    _goal("laundered fp8 weights", "laundered_fp8", 0.99, 96),
    _goal("laundered int6 weights", "laundered_int6", 0.99, 96),
    _goal("laundered int8, same stack", "laundered_int8", 0.99, 300),
    _goal("laundered int8, vLLM checked by torch", "laundered_int8", 0.99, 1000, VLLM, TORCH),
    _goal("laundered int8, torch checked by vLLM", "laundered_int8_torch", 0.99, 1000, TORCH, VLLM),
    _goal("int4", "int4", 0.999, 16),
    _goal("int8 weights", "int8", 0.99, 48),
    _goal("fp8 KV cache, same stack (torch)", "fp8_kv_torch", 0.95, 1500, TORCH, TORCH),
    _goal("fp8 KV cache, laundered, same stack (torch)", "laundered_fp8_kv_torch", 0.95, 1500, TORCH, TORCH),
    _goal("temperature 1.0 -> 1.05", "wrong_temperature", 0.95, 200),
    _goal("top-p .95 -> .90", "wrong_top_p", 0.95, 1000),
    _goal("wrong seed", "wrong_seed", 0.95, 8),
    _goal("altered system prompt", "altered_system_prompt", 0.999, 32),
    _goal("altered system prompt, laundered", "laundered_altered_system_prompt", 0.999, 32),
    *(
        _goal(f"mask {case.replace('_', ' ', 1).replace('_', '-')}, {where}", case, 0.99, tokens, VLLM, validator)
        for case in RELABELLED for where, tokens, validator in (("equal", 64, VLLM), ("across", 256, TORCH))
    ),
    _goal("second edition: laundered int8, equal", "laundered_int8", 0.99, 128),
    _goal("second edition: laundered int8, vLLM checked by torch", "laundered_int8", 0.99, 2000, VLLM, TORCH),
    _goal("second edition: laundered int8, torch checked by vLLM", "laundered_int8_torch", 0.99, 2000, TORCH, VLLM),
    _goal("second edition: altered system prompt, laundered", "laundered_altered_system_prompt", 0.99, 48),
)


def judged(goals: Sequence[Goal], curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """One row for each goal: detection at its length with interval, tokens at which its rate is reached, met or not."""
    rows = []
    by_case = {(curve.case, curve.executor, curve.validator): curve for curve in reversed(curves)}
    for goal in goals:
        wanted = {"row": goal.text, "goal": f">= {goal.rate:g} in <= {goal.tokens}"}
        curve = by_case.get((goal.case, goal.executor, goal.validator))
        if curve is None:
            rows.append({**wanted, "ours": "not measured", "met": False})
            continue
        at = max(i for i, n in enumerate(LENGTHS) if n <= goal.tokens)
        rows.append({
            **wanted, "ours": f"{curve.rates[at]:.4f} [{curve.low[at]:.3f}, {curve.high[at]:.3f}] in {LENGTHS[at]}",
            "reached_in": curve.needed(goal.rate), "met": bool(curve.rates[at] >= goal.rate),
            "heldout_answers": curve.answers, "heldout_tokens": curve.tokens,
        })
    return rows
