"""The goal table of the design, with our figure in each row. Law: a row's figure is read off the curves or the exact
counts; a miss is a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from p2p.lab.measure.evaluate import LENGTHS, Curve
from p2p.lab.measure.plan import TORCH, VLLM


@dataclass(frozen=True, slots=True)
class Goal:
    """At least `rate` detection in at most `tokens` tokens."""

    text: str
    case: str
    executor: str
    validator: str
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
)


def judged(goals: Sequence[Goal], curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """One row per goal: detection at its length with interval, the length at which its rate is reached, met or not."""
    rows = []
    for goal in goals:
        curve = next(
            (c for c in curves if (c.case, c.executor, c.validator) == (goal.case, goal.executor, goal.validator)), None
        )
        if curve is None:
            rows.append(
                {
                    "row": goal.text, "goal": f">= {goal.rate:g} in <= {goal.tokens}", "ours": "not measured",
                    "met": False
                }
            )
            continue
        at = max(i for i, n in enumerate(LENGTHS) if n <= goal.tokens)
        needed = curve.needed(goal.rate)
        rows.append({
            "row": goal.text, "goal": f">= {goal.rate:g} in <= {goal.tokens}",
            "ours": f"{curve.rates[at]:.4f} [{curve.low[at]:.3f}, {curve.high[at]:.3f}] in {LENGTHS[at]}",
            "reached_in": needed, "met": bool(curve.rates[at] >= goal.rate), "heldout_answers": curve.answers,
            "heldout_tokens": curve.tokens,
        })
    return rows
