"""The checks of one inference.

Law: stage 0 needs no model and is exact; stage 1 needs one prefill and a calibration. Doubt never becomes 'valid'.

Stage 1 turns the facts of each token (statistics.py) into log-likelihood ratios of the calibrated alternatives
(profile.py), and compares their mixture with the value that honest answers of this length exceed at the wanted rate of
false alarms. Short answers have higher thresholds, never a free pass. Stage 0 refuses an answer without tokens, for
even silence has an end-of-sequence token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from p2p.base.genesis import CheckRules, ModelSpec
from p2p.base.serving_limits import TOP_RANKS
from p2p.base.types import FinishReason, FinishRecord, Request
from p2p.verification import tape
from p2p.verification.artifact import CHOSEN_STEPS_PER_NAT, TOP_STEPS_PER_NAT, Artifact, Position
from p2p.verification.profile import Noise, family, mixture, ratios
from p2p.verification.sampling import Sampling
from p2p.verification.statistics import EXACT_NATS, EXCESS, LEAD, Floats, answer_facts
from p2p.verification.streamed import wrong_handover

FALSE_ALARM_PPM = CheckRules().false_alarm_ppm  # false alarms in a million answers, where no network says otherwise
LLR_BOUND_MILLI = 1_000_000  # milli-nats; larger ratios are cut
PROOF_NATS = 0.5  # equal kernels differ by 0.0; kernels without one equal bit were never seen to differ by 0.4
PROOF_LLR_MILLI = 20_000  # milli-nats; a ratio that no threshold reaches
MAX_REASON = 300  # characters of a result's sentence
_EPSILON = 1e-6  # nats; rounding
_MASS_SLACK = 1e-3  # probability; an engine adds up in float32
_FLOOR = -255 / TOP_STEPS_PER_NAT  # nats; the lowest log-probability that 8 bits hold


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found."""

    valid: bool
    reason: str  # a sentence if not valid, the numbers if valid
    # stage 1's ratio minus the profile's normaliser, for the epoch's sequential test; 0 if stage 0 refused
    llr_milli: int = 0
    tokens: int = 0  # checked by stage 1
    suspect: str = ""  # the alternative that fits best


def refused(reason: str) -> CheckResult:
    """The result where stage 0 refuses."""
    return CheckResult(False, reason[:MAX_REASON])


def of_other_kernels(report: CheckResult) -> CheckResult:
    """The result where the numbers are not those of the kernels that the executor names, which are the validator's."""
    reason = "the numbers are not those of the kernels that the answer names"
    return replace(report, valid=False, reason=reason, llr_milli=max(report.llr_milli, PROOF_LLR_MILLI))


def judge(
    artifact: Artifact, rows: Sequence[Mapping[int, float]], noise: Noise, *, ppm: int = FALSE_ALARM_PPM,
    equal: bool = False, sampling: Sampling | None = None,
) -> CheckResult:
    """Stage 1: one prefill of the claimed model against what was published. Pass `check_exact` first.

    rows: one per output token, token id -> log-probability in nats, each with the chosen token. noise: of the two
    stacks. ppm: wanted false alarms in a million honest answers. equal: both sides compute with the same kernels
    (Profile.equal), so a single token can be proof (decision 035). sampling: how the request wants its answer sampled;
    None: by its Params alone. Tokens that were taken over are judged by whoever
    signed for them and say nothing about this executor. Raises ConfigError if the profile has no thresholds for `ppm`.
    """
    positions, own = artifact.positions(), artifact.header.taken_over
    if not positions or len(rows) != len(positions):
        return refused("the prefill does not cover the answer")
    if any(position.token not in row for position, row in zip(positions, rows, strict=True)):
        return refused("the prefill does not cover the answer")
    header = artifact.header
    facts = answer_facts(positions, rows, header.params, header.seed, sampling=sampling, edge=noise.edge)[own:]
    report = replace(weigh(facts, noise, ppm=ppm), tokens=len(positions))
    return exact_rule(report, facts, noise, own) if equal else report


def exact_rule(report: CheckResult, facts: Floats, noise: Noise, first: int = 0) -> CheckResult:
    """`report`, or its refusal by a token that equal kernels cannot have given, for they give the same bits. first:
    position of the first fact.

    A loss of more than PROOF_NATS is proof. A smaller one beyond rounding is refused too, where it was measured how
    rarely honest hosts lose so; its ratio is that of a certain event against one as frequent as the measured bound
    allows in so many tokens. So the epoch's test stays one whose honest mean is at most 1.
    """
    least = EXACT_NATS if noise.lost_ppm else PROOF_NATS
    for deep, words in ((facts[:, EXCESS], "is outside the mask asked for"), (-facts[:, LEAD], "lost the tape")):
        at = int(np.argmax(deep))
        if deep[at] > least:
            chance = min(noise.lost_ppm * len(facts) / 1e6, 1.0)
            ratio = PROOF_LLR_MILLI if deep[at] > PROOF_NATS else math.floor(-1000 * math.log(chance))
            reason = (
                f"position {first + at}: the token {words} by {deep[at]:.4f} nats, which equal kernels cannot give"
            )
            return replace(report, valid=False, reason=reason, llr_milli=max(report.llr_milli, ratio))
    return report


def weigh(facts: Floats, noise: Noise, *, ppm: int = FALSE_ALARM_PPM) -> CheckResult:
    """The result from an answer's facts, shape (tokens, 8). Raises ConfigError if the profile has no thresholds for
    `ppm`."""
    each = ratios(noise.likelihoods(facts).sum(axis=0), len(facts))
    total, limit = float(mixture(each)), noise.threshold_milli(len(facts), ppm)
    suspect = noise.names()[int(np.argmax(each))]
    llr = int(np.clip(round(total) - noise.normaliser_milli, -LLR_BOUND_MILLI, LLR_BOUND_MILLI))
    numbers = f"ratio {total / 1000:.2f} nats (limit {limit / 1000:.2f}), {len(facts)} tokens"
    if total > limit:
        return CheckResult(
            False, f"not what this model samples: {numbers}; most like {suspect}"[:MAX_REASON], llr, len(facts), suspect
        )
    return CheckResult(True, numbers, llr, len(facts), suspect)


def check_exact(
    artifact: Artifact, request: Request, finish: FinishRecord, spec: ModelSpec, seed: bytes, eos_ids: frozenset[int],
    *,
    drawn: Sequence[bytes] = (), sampling: Sampling | None = None,
) -> str | None:
    """Stage 0: the sentence that says what is wrong, or None.

    seed: the tape's, 32 bytes, as the draw gives it. eos_ids: ends of an answer according to the engine, where the
    registry names none. drawn: executors of the inference in the order in which they are asked; without them nothing
    can be taken over. sampling: how the request wants its answer sampled, from its body; None: by its Params alone.
    """
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
        (
            not spec.stacks or family(header.stack) in spec.stacks,
            "the artifact names a stack that the model may not be served on"
        ),
        (header.body_hash == request.body_hash, "the artifact is for another body"),
        (header.params == request.params, "the sampling parameters are not those asked for"),
        (header.seed == seed, "the seed is not the one the draw gives"),
        (0 < len(tokens) <= request.max_tokens, "the answer is empty or longer than asked for"),
        (header.taken_over == finish.taken_over, "two counts of tokens that were taken over are claimed"),
        (header.taken_over < header.length, "no token was added to those that were taken over"),
    )
    for holds, sentence in facts:
        if not holds:
            return sentence
    positions = artifact.positions()
    rules = sampling or Sampling(request.params, spec.ends(eos_ids))
    return (
        _check_end(tokens, header.finish_reason, request.max_tokens, rules.ends)
        or _check_taken(artifact, request, finish, drawn)
        or _check_rows(positions, spec.vocabulary)
        or _check_tape(positions, rules, seed, header.taken_over)
    )


def _check_taken(artifact: Artifact, request: Request, finish: FinishRecord, drawn: Sequence[bytes]) -> str | None:
    """Tokens of earlier executors must be signed by them."""
    header = artifact.header
    if not header.taken:
        return None
    before = artifact.tokens[: header.taken_over]
    return wrong_handover(header.taken, before, request.network, finish.inference_id, drawn, finish.executor)


def _check_rows(positions: Sequence[Position], vocabulary: int) -> str | None:
    """Each row must be one that a model could have given: ids of its vocabulary, distinct candidates in order, numbers
    that belong together. A candidate published twice would hide one that beats the chosen token."""
    many = min(TOP_RANKS, vocabulary)
    for index, position in enumerate(positions):
        ids, logprobs = [token for token, _ in position.top], [logprob for _, logprob in position.top]
        if max(position.token, *ids) >= vocabulary:
            return f"position {index}: a token id beyond the model's vocabulary"
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
    """Whether the chosen token's number is that of the same candidate, or, if it is no candidate, no larger than the
    last one's. Each is exact to half a quantisation step."""
    slack = 0.5 / TOP_STEPS_PER_NAT + 0.5 / CHOSEN_STEPS_PER_NAT + _EPSILON
    published = dict(position.top).get(position.token)
    if published is None:
        return position.logprob <= position.top[-1][1] + slack
    if published <= _FLOOR:
        return position.logprob <= _FLOOR + slack
    return abs(position.logprob - published) <= slack


def _tail_fits(logprobs: Sequence[float], tail: float) -> bool:
    """Whether the published tail is what the candidates leave of one, as far as rounding shows."""
    half = 0.5 / TOP_STEPS_PER_NAT
    most = sum(math.exp(min(p + half, 0.0)) for p in logprobs)
    least = sum(math.exp(p - half) for p in logprobs if p > _FLOOR)
    highest, lowest = max(1.0 - least, 0.0) + _MASS_SLACK, max(1.0 - most, 0.0) - _MASS_SLACK
    return math.exp(tail - half) <= highest and math.exp(min(tail + half, 0.0)) >= lowest and least <= 1.0 + _MASS_SLACK


def _check_end(tokens: Sequence[int], reason: FinishReason, max_tokens: int, eos_ids: frozenset[int]) -> str | None:
    """End token, finish reason and length must agree."""
    ended = tokens[-1] in eos_ids
    if any(token in eos_ids for token in tokens[:-1]):
        return "the answer continues after its end-of-sequence token"
    if (reason is FinishReason.STOP) != ended:
        return "finish reason and last token disagree about the end"
    # whether the client left is for the ledger: it needs the agent's record of these tokens
    if reason is FinishReason.STOPPED:
        return None if len(tokens) < max_tokens else "an answer of max_tokens was not stopped"
    if reason is FinishReason.STOP_STRING:  # whether there is one is for who has the vocabulary (text/stop.py)
        return None
    if not ended and len(tokens) != max_tokens:
        return "the answer is truncated: shorter than max_tokens without an end-of-sequence token"
    return None


def _check_tape(positions: Sequence[Position], sampling: Sampling, seed: bytes, first: int) -> str | None:
    """The chosen token must be allowed, and beat each published candidate under the tape within what quantisation
    hides.

    first: position of this executor's first own token; whoever streamed those before signed for them.
    """
    params = sampling.params
    scale = params.temperature_milli / 1000.0 if params.temperature_milli else 1.0
    factor = max(1.0, params.repetition_milli / 1000.0)
    slack = factor * (0.5 / TOP_STEPS_PER_NAT + 0.5 / CHOSEN_STEPS_PER_NAT) / scale + _EPSILON
    rows = [[position.token, *(token for token, _ in position.top)] for position in positions[first:]]
    state = sampling.begin([position.token for position in positions[:first]])
    for index, (position, ids, noise) in enumerate(
        zip(positions[first:], rows, tape.noise_of_rows(seed, sampling.start + first, rows, params), strict=True), first
    ):
        published = np.array([position.logprob, *(p for _, p in position.top)])
        values = state.moved(published, np.array(ids, dtype=np.int64)) / scale + noise
        state.accept(position.token)
        if state.broken_at is not None and state.broken_at >= sampling.start:  # before: it is the request's fault
            what = "the answer ends too early" if position.token in sampling.ends else "it breaks the grammar"
            return f"position {state.broken_at - sampling.start}: the token is not allowed, {what}"
        others = values[1:][[_competes(position, rank, sampling) for rank in range(len(position.top))]]
        if others.size and others.max() - values[0] > slack:
            return f"position {index}: a published candidate beats the chosen token under the tape"
    return None


def _competes(position: Position, rank: int, sampling: Sampling) -> bool:
    """Whether a candidate is certainly inside the masks. Values at the quantisation's floor (255 steps) say nothing."""
    token, logprob = position.top[rank]
    if token == position.token or logprob <= _FLOOR:
        return False
    params = sampling.params
    # what a mask keeps then depends on tokens that are not published
    if sampling.lifts:
        return not (params.top_k or params.min_p_milli or params.top_p_milli < 1000)
    if params.top_p_milli < 1000:
        return rank == 0  # the mass before a later one includes tokens that are not published
    if params.top_k and rank >= params.top_k:
        return False
    if params.min_p_milli:
        # min-p is taken after the temperature
        reach = np.log(params.min_p_milli / 1000.0) * (params.temperature_milli / 1000.0)
        return bool(logprob >= position.top[0][1] + reach + 1.0 / TOP_STEPS_PER_NAT)
    return True
