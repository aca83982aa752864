"""The checks of one inference. Law: stage 0 needs no model and is exact; stage 1 needs one prefill; doubt is never 'valid'.

Statistics per token (decision 006): margin = best tape score - chosen token's score under the VALIDATOR's logits, clipped:
an honest host's token wins or loses by numerical noise. distance = mean |published - own| log-probability, clipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from p2p.types import FinishReason, FinishRecord, ModelSpec, Params, Request
from p2p.verification import tape
from p2p.verification.artifact import CHOSEN_STEPS_PER_NAT, TOP_STEPS_PER_NAT, Artifact, Position

MARGIN_CLIP = 1.0
DISTANCE_CLIP = 2.0
# Fixed honest thresholds (decision 006): mean over N tokens may reach LIMIT + ALLOWANCE / sqrt(N).
MARGIN_LIMIT = 0.03
MARGIN_ALLOWANCE = 0.35
DISTANCE_LIMIT = 0.12
DISTANCE_ALLOWANCE = 0.25
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Report:
    """margin_mean, distance_mean in nats; reason: a sentence when not valid, the numbers when valid."""

    valid: bool
    reason: str
    margin_mean: float
    distance_mean: float
    tokens: int


def check_exact(
    artifact: Artifact, request: Request, finish: FinishRecord, spec: ModelSpec, seed: bytes, eos_ids: frozenset[int]
) -> str | None:
    """Stage 0. The sentence that says what is wrong, or None."""
    header = artifact.header
    tokens = artifact.tokens
    facts = (
        (artifact.root() == finish.artifact_root, "the payload's root is not the one on chain"),
        (header.inference_id == finish.inference_id, "the artifact is about another inference"),
        (artifact.output_hash() == finish.output_hash, "the output hash is not that of the tokens"),
        (header.length == finish.output_tokens, "the length is not what was charged"),
        (header.prompt_tokens == finish.prompt_tokens, "the prompt length is not what was charged"),
        (header.finish_reason == finish.finish_reason, "two finish reasons are claimed"),
        (header.model == request.model, "the artifact names another model"),
        (header.weights_hash == spec.weights_hash, "the artifact names other weights"),
        (header.template_hash == spec.template_hash, "the artifact names another chat template"),
        (header.precision == spec.precision, "the artifact names another precision"),
        (header.prompt_hash == request.prompt_hash, "the artifact is for another prompt"),
        (header.params == request.params, "the sampling parameters are not those asked for"),
        (header.seed == seed, "the seed is not the one the draw gives"),
        (0 < len(tokens) <= request.max_tokens, "the answer is empty or longer than asked for"),
    )
    for holds, sentence in facts:
        if not holds:
            return sentence
    return _check_end(tokens, header.finish_reason, request.max_tokens, eos_ids) or _check_tape(artifact, request.params, seed)


def _check_end(tokens: Sequence[int], reason: FinishReason, max_tokens: int, eos_ids: frozenset[int]) -> str | None:
    ended = tokens[-1] in eos_ids
    if any(token in eos_ids for token in tokens[:-1]):
        return "the answer goes on after its end-of-sequence token"
    if (reason is FinishReason.STOP) != ended:
        return "finish reason and last token disagree about the end"
    if not ended and len(tokens) != max_tokens:
        return "the answer is truncated: shorter than max_tokens without an end-of-sequence token"
    return None


def _check_tape(artifact: Artifact, params: Params, seed: bytes) -> str | None:
    """The chosen token must beat each published candidate under the tape, within what quantisation hides."""
    for index, position in enumerate(artifact.positions()):
        slack = 0.5 / TOP_STEPS_PER_NAT + 0.5 / CHOSEN_STEPS_PER_NAT
        scale = params.temperature_milli / 1000.0 if params.temperature_milli else 1.0
        ids = [position.token, *(token for token, _ in position.top)]
        noise = tape.gumbel_at(seed, index, ids) if params.temperature_milli else np.zeros(len(ids))
        values = np.array([position.logprob, *(p for _, p in position.top)]) / scale + noise
        others = values[1:][[_competes(position, rank, params) for rank in range(len(position.top))]]
        if others.size and others.max() - values[0] > slack / scale + _EPSILON:
            return f"position {index}: a published candidate beats the chosen token under the tape"
    return None


def _competes(position: Position, rank: int, params: Params) -> bool:
    """A candidate clearly inside the top-k / min-p mask; floor-quantised values (255 steps) say nothing."""
    token, logprob = position.top[rank]
    if token == position.token or logprob <= -255 / TOP_STEPS_PER_NAT:
        return False
    if params.top_k and rank >= params.top_k:
        return False
    if params.min_p_milli:
        return bool(logprob >= position.top[0][1] + np.log(params.min_p_milli / 1000.0) + 1.0 / TOP_STEPS_PER_NAT)
    return True


def check_statistics(artifact: Artifact, rows: Sequence[Mapping[int, float]], params: Params, seed: bytes) -> Report:
    """Stage 1: published numbers and tokens against one prefill of the claimed model (`rows`, one per output token)."""
    positions = artifact.positions()
    if len(rows) != len(positions) or not positions:
        return Report(False, "the prefill does not cover the answer", 0.0, 0.0, len(positions))
    margins = [min(margin_at(p, r, params, seed, i), MARGIN_CLIP) for i, (p, r) in enumerate(zip(positions, rows, strict=True))]
    distances = [_distance(p, r) for p, r in zip(positions, rows, strict=True)]
    count = len(positions)
    margin, distance = float(np.mean(margins)), float(np.mean(distances))
    margin_bar = MARGIN_LIMIT + MARGIN_ALLOWANCE / np.sqrt(count)
    distance_bar = DISTANCE_LIMIT + DISTANCE_ALLOWANCE / np.sqrt(count)
    numbers = f"margin {margin:.4f} (limit {margin_bar:.3f}), distance {distance:.4f} (limit {distance_bar:.3f}), {count} tokens"
    if margin > margin_bar:
        return Report(False, "the tokens are not what this model samples: " + numbers, margin, distance, count)
    if distance > distance_bar:
        return Report(False, "the probabilities are not this model's: " + numbers, margin, distance, count)
    return Report(True, numbers, margin, distance, count)


def margin_at(position: Position, row: Mapping[int, float], params: Params, seed: bytes, index: int) -> float:
    """Best tape score among the prefill's candidates minus the chosen token's, in nats x T; 0 when the chosen one wins."""
    if position.token not in row:
        return MARGIN_CLIP
    ids = list(row)
    logprobs = np.array([row[token] for token in ids])
    noise = tape.gumbel_at(seed, index, ids) if params.temperature_milli else np.zeros(len(ids))
    values = tape.scores(logprobs, params, noise)
    chosen = values[ids.index(position.token)]
    if not np.isfinite(chosen):  # outside the mask by rounding: compare unmasked
        values = logprobs / max(params.temperature_milli / 1000.0, _EPSILON) + noise
        chosen = values[ids.index(position.token)]
    scale = params.temperature_milli / 1000.0 if params.temperature_milli else 1.0
    return float(max(values.max() - chosen, 0.0) * scale)


def _distance(position: Position, row: Mapping[int, float]) -> float:
    pairs = {position.token: position.logprob, **dict(position.top)}
    gaps = [min(abs(row[t] - p), DISTANCE_CLIP) if t in row else DISTANCE_CLIP for t, p in pairs.items() if p > -255 / TOP_STEPS_PER_NAT]
    return float(np.mean(gaps)) if gaps else DISTANCE_CLIP
