"""The checks on a toy model: honest work passes at every length, each lie is named, short answers are judged, one lie is enough."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.inference.engine import TokenStep
from p2p.types import FinishReason, FinishRecord, Params
from p2p.verification import artifact as artifacts
from p2p.verification import check
from tests.fake_vllm import EOS, Toy
from tests.verification.toy import PARAMS, PROMPT, SEED, SPEC, Noisy, calibrated, claim, generate, launder, rows

EOS_IDS = frozenset({EOS})
ALL_PARAMS = [
    Params(0), Params(700), Params(1000, 20), Params(1000, 0, 50), Params(1000, 40, 0, 900), Params(900, 0, 0, 1000, 500, 700),
    Params(800, 30, 20, 950, 300, 0),
]


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


@pytest.mark.parametrize("count", [1, 2, 4, 8, 40])
def test_another_model_is_caught_even_in_one_token(count: int) -> None:
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
    forged = [*steps, TokenStep(EOS, "", -0.05, ((EOS, -0.05),))]
    made, req, record = claim(60, PARAMS, steps=forged)
    assert exact(made, req, record) is None, "stage 0 cannot see it"
    report = check.judge(made, rows(Noisy(run=5), made.tokens), calibrated())
    assert not report.valid
    assert report.suspect == "one_position"
    assert check.judge(claim(59, PARAMS, steps=steps)[0], rows(Noisy(run=5), made.tokens[:-1]), calibrated()).valid


def test_an_empty_answer_is_refused_and_a_single_end_is_an_answer() -> None:
    made, req, record = claim(4, PARAMS, steps=[])
    assert exact(made, req, record) == "the answer is empty or longer than asked for"
    assert not check.judge(made, [], calibrated()).valid
    end = [TokenStep(EOS, "", -0.01, ((EOS, -0.01),))]
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
    {"seed": b"\x08" * 32}, {"model": "other"}, {"params": Params(900)}, {"kv_precision": "fp8"}, {"stack": "torch-cpu-bf16"},
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
        at = [*steps[:end], TokenStep(EOS, "", -0.05, ((EOS, -0.05),)), *steps[end:]]
        made, req, record = claim(21, steps=at)
        assert exact(made, req, record) == "the answer goes on after its end-of-sequence token"
    assert PROMPT


def test_an_answer_that_was_stopped_is_short_and_has_no_end() -> None:
    """That the agent asked for it is for the ledger: without its record of the same tokens nothing is paid."""
    made, req, record = claim(20, reason=FinishReason.STOPPED)
    assert exact(made, replace(req, max_tokens=30), record) is None
    assert exact(made, req, record) == "an answer of max_tokens was not stopped"
    steps = [*generate(Toy(1), 5, Params(700)), TokenStep(EOS, "", -0.05, ((EOS, -0.05),))]
    made, req, record = claim(6, steps=steps, reason=FinishReason.STOPPED)
    assert exact(made, replace(req, max_tokens=30), record) == "finish reason and last token disagree about the end"


def test_what_was_taken_over_is_left_to_stage_one() -> None:
    """A successor publishes its own prefill's numbers for tokens that another kernel sampled: stage 0 must not refuse an honest one."""
    def taken_over(run: int) -> tuple[artifacts.Artifact, object, FinishRecord]:
        steps = generate(Noisy(run=run), 40, PARAMS)
        own = rows(Noisy(run=run + 1000), tuple(s.token for s in steps))
        return claim(40, PARAMS, steps=[*launder(steps[:30], own[:30]), *steps[30:]])

    made, req, record = next(found for found in map(taken_over, range(200, 400)) if exact(*found) is not None)
    header = replace(made.header, taken_over=30)
    successor = artifacts.Artifact(header, made.rows)
    assert exact(successor, req, replace(record, artifact_root=successor.root())) is None
    assert check.judge(successor, rows(Noisy(run=33), made.tokens), calibrated()).valid
    beyond = artifacts.Artifact(replace(made.header, taken_over=41), made.rows)
    assert exact(beyond, req, replace(record, artifact_root=beyond.root())) == "more tokens were taken over than there are"


def test_claiming_a_prefix_does_not_hide_another_model() -> None:
    cheap = generate(Toy(2), 40, PARAMS)
    made, _, _ = claim(40, PARAMS, steps=launder(cheap, rows(Toy(1), tuple(s.token for s in cheap))))
    lying = artifacts.Artifact(replace(made.header, taken_over=40), made.rows)
    assert not check.judge(lying, rows(Noisy(run=7), made.tokens), calibrated()).valid
