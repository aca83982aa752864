"""The checks on a toy model: honest work passes at every length, each lie is named, short answers are judged, one lie
is enough."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.keys import digest
from p2p.base.types import FinishReason, FinishRecord, Params
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from p2p.verification.engine import TokenStep
from testnet.simulated_engine import EOS, VOCAB, Toy
from tests.verification.toy import (
    IID,
    PARAMS,
    PROMPT,
    SEED,
    SPEC,
    Noisy,
    calibrated,
    claim,
    forged,
    generate,
    launder,
    rows,
)

EOS_IDS = frozenset({EOS})
ALL_PARAMS = [
    Params(0), Params(700), Params(1000, 20), Params(1000, 0, 50), Params(1000, 40, 0, 900),
    Params(900, 0, 0, 1000, 500, 700),
    Params(800, 30, 20, 950, 300, 0),
]


def replace_step(step: TokenStep, **change: Any) -> TokenStep:
    return dataclasses.replace(step, **change)


def exact(made: artifacts.Artifact, req: object, record: FinishRecord) -> str | None:
    return check.check_exact(made, req, record, SPEC, SEED, EOS_IDS)  # type: ignore[arg-type]


@pytest.mark.parametrize("params", ALL_PARAMS)
@pytest.mark.parametrize("count", [1, 2, 8, 40])
def test_honest_work_passes_at_every_length(params: Params, count: int) -> None:
    made, req, record = claim(count, params)
    assert exact(made, req, record) is None
    report = check.judge(made, rows(Noisy(run=99), made.tokens), calibrated())
    assert report.valid, report.reason
    assert report.tokens == len(made.tokens)


@pytest.mark.parametrize("count", [3, 4, 8, 40])
def test_another_model_is_caught_in_a_few_tokens(count: int) -> None:
    made, _, _ = claim(count, PARAMS, salt=2)
    report = check.judge(made, rows(Noisy(run=7), made.tokens), calibrated())
    assert not report.valid
    assert report.llr_milli > 0


def test_laundered_text_is_caught_by_its_tokens() -> None:
    """Text of a cheap model, probabilities of the right one: only the tape sees it."""
    cheap = generate(Toy(2), 40, PARAMS)
    right = rows(Toy(1), tuple(s.token for s in cheap))
    made, req, record = claim(40, PARAMS, steps=launder(cheap, right))
    report = check.judge(made, rows(Noisy(run=7), made.tokens), calibrated())
    assert not report.valid
    assert report.suspect != "unknown", "its numbers are the right ones"
    assert exact(made, req, record) is not None, "untouched laundered numbers contradict the tape by themselves"


def test_a_coarse_model_is_caught_laundered_or_not() -> None:
    for laundered in (False, True):
        steps = generate(Noisy(grid=1.6, run=11), 60, PARAMS)
        if laundered:
            steps = launder(steps, rows(Noisy(run=12), tuple(s.token for s in steps)))
        made, _, _ = claim(60, PARAMS, steps=steps)
        assert not check.judge(made, rows(Noisy(run=13), made.tokens), calibrated()).valid


def test_one_forged_position_in_a_long_honest_answer_is_enough() -> None:
    """A mean would drown it: 59 honest tokens, and an end that the model did not choose, with invented numbers."""
    steps = generate(Toy(1), 59, PARAMS)
    made, req, record = claim(60, PARAMS, steps=[*steps, forged(EOS)])
    assert exact(made, req, record) is None, "stage 0 cannot see it"
    report = check.judge(made, rows(Noisy(run=5), made.tokens), calibrated())
    assert not report.valid
    assert report.suspect == "one_position"
    assert check.judge(claim(59, PARAMS, steps=steps)[0], rows(Noisy(run=5), made.tokens[:-1]), calibrated()).valid


def test_an_empty_answer_is_refused_and_a_single_end_is_an_answer() -> None:
    made, req, record = claim(4, PARAMS, steps=[])
    assert exact(made, req, record) == "the answer is empty or longer than asked for"
    assert not check.judge(made, [], calibrated()).valid
    end = [forged(EOS, -0.01)]
    made, req, record = claim(4, PARAMS, steps=end)
    assert made.header.finish_reason is FinishReason.STOP
    assert exact(made, req, record) is None, "saying nothing is allowed when the model says so"
    assert not check.judge(made, rows(Noisy(run=6), made.tokens), calibrated()).valid, "here it did not"


def test_rows_that_do_not_cover_the_answer_are_never_valid() -> None:
    made, _, _ = claim(10, PARAMS)
    own = rows(Toy(1), made.tokens)
    lacking = [{t: p for t, p in own[0].items() if t != made.tokens[0]}, *own[1:]]
    for bad in (own[:-1], [], lacking):
        report = check.judge(made, bad, calibrated())
        assert not report.valid
        assert report.llr_milli == 0


@pytest.mark.parametrize("change", [
    {"seed": b"\x08" * 32}, {"model": "other"}, {"params": Params(900)}, {"kv_precision": "fp8"},
    {"stack": "torch-cpu-bf16"},
])
def test_a_changed_header_is_not_under_the_root(change: dict[str, object]) -> None:
    made, req, record = claim()
    forged = artifacts.Artifact(replace(made.header, **change), made.rows)
    wrong = exact(forged, req, record)
    assert wrong is not None
    assert "root" in wrong
    signed = replace(record, artifact_root=forged.root())
    assert exact(forged, req, signed) not in (None, wrong), "and under a root of its own it is refused by name"


def test_truncation_and_wrong_ends_are_exact() -> None:
    made, req, record = claim(20)
    wrong = exact(made, replace(req, max_tokens=30), record)
    assert wrong == "the answer is truncated: shorter than max_tokens without an end-of-sequence token"
    steps = generate(Toy(1), 20, Params(700))
    for end in (5, 19):
        at = [*steps[:end], forged(EOS), *steps[end:]]
        made, req, record = claim(21, steps=at)
        assert exact(made, req, record) == "the answer continues after its end-of-sequence token"
    assert PROMPT


def test_what_ends_an_answer_is_the_registrys_word() -> None:
    """Two engines may know different ends; what one of them calls a lie another one made."""
    steps = generate(Toy(1), 20, Params(700))
    made, req, record = claim(20, steps=steps)
    second = steps[4].token
    spec = replace(SPEC, eos_ids=(EOS, second))
    for engine in (EOS_IDS, frozenset[int](), frozenset({steps[2].token})):
        assert check.check_exact(made, req, record, SPEC, SEED, EOS_IDS) is None
        assert "continues after its end" in str(check.check_exact(made, req, record, spec, SEED, engine))
        assert check.check_exact(made, req, record, replace(SPEC, eos_ids=(EOS,)), SEED, engine) is None


def test_an_answer_that_was_stopped_is_short_and_has_no_end() -> None:
    """That the agent asked for it is for the ledger: without its record of the same tokens nothing is paid."""
    made, req, record = claim(20, reason=FinishReason.STOPPED)
    assert exact(made, replace(req, max_tokens=30), record) is None
    assert exact(made, req, record) == "an answer of max_tokens was not stopped"
    steps = [*generate(Toy(1), 5, Params(700)), forged(EOS)]
    made, req, record = claim(6, steps=steps, reason=FinishReason.STOPPED)
    assert exact(made, replace(req, max_tokens=30), record) == "finish reason and last token disagree about the end"


# -- rows that no model gives ----------------------------------------------------------------------------------------


def changed(at: int, **change: object) -> str | None:
    """Stage 0's word on an honest answer with another row at one place."""
    steps = generate(Toy(1), 20, PARAMS)
    steps[at] = replace_step(steps[at], **change)
    return exact(*claim(20, PARAMS, steps=steps))


def test_ids_beyond_the_vocabulary_are_refused_wherever_they_stand() -> None:
    for token in (VOCAB, VOCAB + 1, 2**16, 2**18 - 1):
        said = str(changed(3, token=token))
        assert "beyond the model's vocabulary" in said, "nobody could score it, so nobody could say more"
        top = generate(Toy(1), 20, PARAMS)[5].top
        assert "beyond the model's vocabulary" in str(changed(5, top=(*top[:7], (token, top[7][1]))))
    assert changed(3) is None


@pytest.mark.parametrize("kept", range(1, 8))
def test_candidates_said_twice_are_refused(kept: int) -> None:
    """Publishing fewer candidates hides the one that beats the chosen token: laundering would pass stage 0."""
    cheap = generate(Toy(2), 20, PARAMS)
    right = rows(Toy(1), tuple(s.token for s in cheap))
    hidden = [replace_step(s, top=s.top[:kept]) for s in launder(cheap, right)]
    assert "published twice" in str(exact(*claim(20, PARAMS, steps=hidden)))
    only = [replace_step(s, top=((s.token, s.logprob),)) for s in hidden]
    assert "published twice" in str(exact(*claim(20, PARAMS, steps=only)))


def test_rows_whose_numbers_do_not_belong_together_are_refused() -> None:
    step = generate(Toy(1), 20, PARAMS)[7]
    last = step.top[-1]
    assert "not in order" in str(changed(7, top=(*step.top[1:], step.top[0])))
    made, req, record = claim(20, PARAMS)
    for tail in (0, 255):  # nearly everything is outside the candidates, or nothing
        rows_ = bytearray(made.rows)
        rows_[artifacts.row_bytes(made.header.id_bits) - 1] = tail
        other = artifacts.Artifact(made.header, bytes(rows_))
        assert "add up" in str(exact(other, req, replace(record, artifact_root=other.root())))
    assert "chosen" in str(changed(7, logprob=step.logprob + 0.2))
    absent = next(token for token in range(VOCAB) if token not in dict(step.top))
    assert "chosen" in str(changed(7, token=absent, logprob=last[1] + 0.2)), "likelier than a candidate, and none"


@given(st.integers(0, 2**32 - 1), st.integers(0, 19), st.sampled_from(ALL_PARAMS))
def test_honest_rows_always_fit(run: int, at: int, params: Params) -> None:
    """Any logits: flat, steep, equal. The numbers of one softmax are in order and add up, however they are rounded."""
    rng = np.random.default_rng(run)
    logits = rng.normal(0.0, rng.choice([0.0, 0.01, 1.0, 5.0, 40.0]), VOCAB)
    logits = logits.astype(np.float32) if at % 2 else np.round(logits * 8) / 8
    row = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    best = np.argsort(-row, kind="stable")[:8]
    token = int(rng.choice(best)) if at % 3 else int(rng.integers(VOCAB))
    step = TokenStep(token, "", float(row[token]), tuple((int(t), float(row[t])) for t in best))
    made = artifacts.build(
        artifacts.header_for(claim(1, params)[1], IID, SPEC, SEED, PROMPT, FinishReason.LENGTH), [step]
    )
    assert check._check_rows(made.positions(), VOCAB) is None


# -- equal kernels ---------------------------------------------------------------------------------------------------

MASKS = [Params(1000, 5), Params(1000, 40, 0, 700), Params(1500, 0, 200)]


@pytest.mark.parametrize("params", MASKS)
def test_tokens_outside_the_mask_are_proof_under_equal_kernels(params: Params) -> None:
    free = replace(params, top_k=0, top_p_milli=1000, min_p_milli=0)
    steps = generate(Toy(1), 40, free)
    made, _, _ = claim(40, params, steps=steps)
    own = rows(Toy(1), made.tokens)
    report = check.judge(made, own, calibrated(), equal=True)
    assert (report.valid, report.tokens) == (False, 40)
    assert "outside the mask" in report.reason
    assert report.llr_milli >= check.PROOF_LLR_MILLI
    honest, _, _ = claim(40, params)
    assert check.judge(honest, rows(Toy(1), honest.tokens), calibrated(), equal=True).valid


def test_one_loss_is_proof_under_equal_kernels_and_none_under_others() -> None:
    """A single other token among 128, with honest numbers of its own: a sum over tokens drowns it."""
    steps = generate(Toy(1), 60, PARAMS)
    for at in range(0, 60, 7):
        row = rows(Toy(1), tuple(s.token for s in steps[:at + 1]))[at]
        noise = tape.gumbel_at(SEED, at, list(row))
        scores = sorted(((p + float(g), token) for (token, p), g in zip(row.items(), noise, strict=True)), reverse=True)
        lost = next((token for score, token in scores if 0.6 < scores[0][0] - score < 2.4), None)
        if lost is None:
            continue
        one = [*steps[:at], TokenStep(lost, "", row[lost], steps[at].top)]
        made, _, _ = claim(at + 1, PARAMS, steps=one)
        report = check.judge(made, rows(Toy(1), made.tokens), calibrated(), equal=True)
        assert not report.valid
        assert f"position {at}: the token lost the tape" in report.reason
        assert check.judge(made, rows(Toy(1), made.tokens), calibrated()).llr_milli < check.PROOF_LLR_MILLI


@pytest.mark.parametrize("params", ALL_PARAMS)
def test_equal_kernels_flag_no_honest_answer(params: Params) -> None:
    for run in range(8):
        seed = digest(b"honest", bytes([run]))
        steps = generate(Toy(1), 40, params, seed)
        made = artifacts.build(
            artifacts.header_for(claim(40, params)[1], IID, SPEC, seed, PROMPT, FinishReason.LENGTH), steps
        )
        assert check.judge(made, rows(Toy(1), made.tokens), calibrated(), equal=True).valid
