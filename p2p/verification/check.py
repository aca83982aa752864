"""The checks of one inference. Law: stage 0 needs no model and is exact; stage 1 needs one prefill and a calibration; doubt is never 'valid'.

Stage 1 turns the facts of each token (statistics.py) into log-likelihood ratios of the calibrated alternatives (profile.py), and
compares their mixture with what honest answers of this length exceed at the wanted false-alarm rate. Short answers have higher
thresholds, never a free pass; an answer without tokens is refused by stage 0, for even silence has an end-of-sequence token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from p2p.base.genesis import CheckRules, ModelSpec
from p2p.base.limits import TOP_RANKS
from p2p.base.types import FinishReason, FinishRecord, Params, Request
from p2p.verification import tape
from p2p.verification.artifact import CHOSEN_STEPS_PER_NAT, TOP_STEPS_PER_NAT, Artifact, Position
from p2p.verification.profile import Noise, family, mixture, ratios
from p2p.verification.statistics import EXCESS, LEAD, Floats, answer_facts
from p2p.verification.streamed import wrong_handover

FALSE_ALARM_PPM = CheckRules().false_alarm_ppm  # where no network says otherwise
LLR_BOUND_MILLI = 1_000_000
PROOF_NATS = 0.5  # strangers' kernels, with no bit in common, were never seen 0.4 apart; equal ones are 0.0 apart
PROOF_LLR_MILLI = 20_000  # beyond every grey zone
_EPSILON = 1e-6
_MASS_SLACK = 1e-3  # sums of an engine's own float32
_FLOOR = -255 / TOP_STEPS_PER_NAT


@dataclass(frozen=True, slots=True)
class CheckResult:
    """reason: a sentence when not valid, the numbers when valid. llr_milli: stage 1's ratio less the profile's normaliser, 0 where
    stage 0 refused; what the epoch's sequential test adds up. tokens: checked by stage 1. suspect: the alternative that fits best."""

    valid: bool
    reason: str
    llr_milli: int = 0
    tokens: int = 0
    suspect: str = ""


def refused(reason: str) -> CheckResult:
    """Stage 0 says no."""
    return CheckResult(False, reason[:300])


def judge(
    artifact: Artifact, rows: Sequence[Mapping[int, float]], noise: Noise, *, ppm: int = FALSE_ALARM_PPM, equal: bool = False
) -> CheckResult:
    """Stage 1: one prefill of the claimed model against what was published. rows: one per output token, each with the chosen token.
    equal: both sides compute with the same kernels (Profile.equal). Tokens that were taken over are the work of whoever signed for them, and
    say nothing about this executor.

    Pass `check_exact` first. Raises ConfigError when the profile has no thresholds for `ppm`.
    """
    positions, own = artifact.positions(), artifact.header.taken_over
    if not positions or len(rows) != len(positions) or any(p.token not in row for p, row in zip(positions, rows, strict=True)):
        return refused("the prefill does not cover the answer")
    facts = answer_facts(positions, rows, artifact.header.params, artifact.header.seed)[own:]
    report = replace(weigh(facts, noise, ppm=ppm), tokens=len(positions))
    proof = _proof(facts, own) if equal else None
    return report if proof is None else replace(report, valid=False, reason=proof, llr_milli=max(report.llr_milli, PROOF_LLR_MILLI))


def _proof(facts: Floats, first: int) -> str | None:
    """What equal kernels cannot have given, by any noise: they give the same bits. first: position of the first fact."""
    for column, deep, words in ((EXCESS, facts[:, EXCESS], "outside the mask asked for"), (LEAD, -facts[:, LEAD], "lost the tape")):
        at = int(np.argmax(deep))
        if deep[at] > PROOF_NATS:
            return f"position {first + at}: the token {words} by {abs(facts[at, column]):.2f} nats under equal kernels, which is none of noise"
    return None


def weigh(facts: Floats, noise: Noise, *, ppm: int = FALSE_ALARM_PPM) -> CheckResult:
    """The verdict on an answer's facts."""
    each = ratios(noise.likelihoods(facts).sum(axis=0), len(facts))
    total, limit = float(mixture(each)), noise.threshold_milli(len(facts), ppm)
    suspect = noise.names()[int(np.argmax(each))]
    llr = int(np.clip(round(total) - noise.normaliser_milli, -LLR_BOUND_MILLI, LLR_BOUND_MILLI))
    numbers = f"ratio {total / 1000:.2f} nats (limit {limit / 1000:.2f}), {len(facts)} tokens"
    if total > limit:
        return CheckResult(False, f"not what this model samples: {numbers}; most like {suspect}"[:300], llr, len(facts), suspect)
    return CheckResult(True, numbers, llr, len(facts), suspect)


def check_exact(
    artifact: Artifact, request: Request, finish: FinishRecord, spec: ModelSpec, seed: bytes, eos_ids: frozenset[int], *,
    drawn: Sequence[bytes] = (),
) -> str | None:
    """Stage 0. The sentence that says what is wrong, or None. drawn: the inference's candidates; without them nothing can be taken over."""
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
        (header.stack == finish.stack, "the artifact names another stack than the finish record"),
        (header.precision == spec.precision, "the artifact names another precision"),
        (header.kv_precision == spec.precision, "the artifact names another precision of the key-value cache"),
        (not spec.stacks or family(header.stack) in spec.stacks, "the artifact names a stack that the model may not be served on"),
        (header.prompt_hash == request.prompt_hash, "the artifact is for another prompt"),
        (header.params == request.params, "the sampling parameters are not those asked for"),
        (header.seed == seed, "the seed is not the one the draw gives"),
        (0 < len(tokens) <= request.max_tokens, "the answer is empty or longer than asked for"),
        (header.taken_over == finish.taken_over, "two counts of tokens that were taken over are claimed"),
        (header.taken_over < header.length, "nothing was added to what was taken over"),
    )
    for holds, sentence in facts:
        if not holds:
            return sentence
    positions = artifact.positions()
    return (
        _check_end(tokens, header.finish_reason, request.max_tokens, spec.ends(eos_ids))
        or _check_taken(artifact, request, finish, drawn)
        or _check_rows(positions, spec.vocabulary)
        or _check_tape(positions, request.params, seed, header.taken_over)
    )


def _check_taken(artifact: Artifact, request: Request, finish: FinishRecord, drawn: Sequence[bytes]) -> str | None:
    header = artifact.header
    if not header.taken:
        return None
    before = artifact.tokens[: header.taken_over]
    return wrong_handover(header.taken, before, request.network, finish.inference_id, drawn, finish.executor)


def _check_rows(positions: Sequence[Position], vocabulary: int) -> str | None:
    """Each row must be one that a model could have given: ids that it has, distinct candidates in order, and numbers that belong together.
    Candidates said twice would hide those that beat the chosen token."""
    many = min(TOP_RANKS, vocabulary)
    for index, position in enumerate(positions):
        ids, logprobs = [token for token, _ in position.top], [logprob for _, logprob in position.top]
        if max(position.token, *ids) >= vocabulary:
            return f"position {index}: a token id beyond the model's vocabulary, which nobody can score"
        if len(set(ids)) < many:
            return f"position {index}: a candidate is published twice"
        if any(after > before for before, after in pairwise(logprobs)):
            return f"position {index}: the candidates are not in order"
        if not _chosen_fits(position):
            return f"position {index}: the chosen token's number does not fit those of the candidates"
        if not _tail_fits(logprobs, position.tail):
            return f"position {index}: the candidates and the rest do not add up to one"
    return None


def _chosen_fits(position: Position) -> bool:
    """The same number, where it is a candidate; no larger than the last one's where it is none. Each is true to half a step."""
    slack = 0.5 / TOP_STEPS_PER_NAT + 0.5 / CHOSEN_STEPS_PER_NAT + _EPSILON
    published = dict(position.top).get(position.token)
    if published is None:
        return position.logprob <= position.top[-1][1] + slack
    if published <= _FLOOR:
        return position.logprob <= _FLOOR + slack
    return abs(position.logprob - published) <= slack


def _tail_fits(logprobs: Sequence[float], tail: float) -> bool:
    """The mass outside the candidates is what they leave of one, as far as rounding lets one see."""
    half = 0.5 / TOP_STEPS_PER_NAT
    most = sum(math.exp(min(p + half, 0.0)) for p in logprobs)
    least = sum(math.exp(p - half) for p in logprobs if p > _FLOOR)
    highest, lowest = max(1.0 - least, 0.0) + _MASS_SLACK, max(1.0 - most, 0.0) - _MASS_SLACK
    return math.exp(tail - half) <= highest and math.exp(min(tail + half, 0.0)) >= lowest and least <= 1.0 + _MASS_SLACK


def _check_end(tokens: Sequence[int], reason: FinishReason, max_tokens: int, eos_ids: frozenset[int]) -> str | None:
    ended = tokens[-1] in eos_ids
    if any(token in eos_ids for token in tokens[:-1]):
        return "the answer goes on after its end-of-sequence token"
    if (reason is FinishReason.STOP) != ended:
        return "finish reason and last token disagree about the end"
    if reason is FinishReason.STOPPED:  # that the client left is the agent's word: without its record of these tokens nothing is paid (M6)
        return None if len(tokens) < max_tokens else "an answer of max_tokens was not stopped"
    if not ended and len(tokens) != max_tokens:
        return "the answer is truncated: shorter than max_tokens without an end-of-sequence token"
    return None


def _check_tape(positions: Sequence[Position], params: Params, seed: bytes, first: int) -> str | None:
    """The chosen token must beat each published candidate under the tape, within what quantisation hides.

    first: of this executor's own tokens; whoever streamed those before signed for them.
    """
    tokens = [position.token for position in positions]
    scale = params.temperature_milli / 1000.0 if params.temperature_milli else 1.0
    slack = (0.5 / TOP_STEPS_PER_NAT + 0.5 / CHOSEN_STEPS_PER_NAT) / scale + _EPSILON
    for index, position in enumerate(positions[first:], first):
        ids = [position.token, *(token for token, _ in position.top)]
        noise = tape.gumbel_at(seed, index, ids) if params.temperature_milli else np.zeros(len(ids))
        counts = tape.output_counts(tokens[:index], ids)
        values = tape.penalised(np.array([position.logprob, *(p for _, p in position.top)]), params, counts) / scale + noise
        others = values[1:][[_competes(position, rank, params) for rank in range(len(position.top))]]
        if others.size and others.max() - values[0] > slack:
            return f"position {index}: a published candidate beats the chosen token under the tape"
    return None


def _competes(position: Position, rank: int, params: Params) -> bool:
    """A candidate clearly inside the masks; floor-quantised values (255 steps) say nothing."""
    token, logprob = position.top[rank]
    if token == position.token or logprob <= _FLOOR:
        return False
    if params.presence_milli or params.frequency_milli:  # which tokens a mask keeps then depends on some that are not published
        return not (params.top_k or params.min_p_milli or params.top_p_milli < 1000)
    if params.top_p_milli < 1000:
        return rank == 0  # the mass before a later one is of tokens that are not published
    if params.top_k and rank >= params.top_k:
        return False
    if params.min_p_milli:
        reach = np.log(params.min_p_milli / 1000.0) * (params.temperature_milli / 1000.0)  # min-p is taken after the temperature
        return bool(logprob >= position.top[0][1] + reach + 1.0 / TOP_STEPS_PER_NAT)
    return True
