"""One mechanism for who chooses and who replays: the choice over the whole vocabulary is the validator's over its row;
stage 0 refuses what is not allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.types import FinishReason, Params
from p2p.verification import check, tape
from p2p.verification.artifact import Position
from p2p.verification.engine import Job, TokenStep
from p2p.verification.sampling import Sampling, sampling_of
from p2p.verification.statistics import EXCESS, LEAD, ROW_TOP, answer_facts
from testnet.simulated_engine import EOS, VOCAB, Toy
from tests.verification.toy import PROMPT, SEED, SPEC, claim

IDS = np.arange(VOCAB)
ENDS = frozenset({EOS})


class Turns:
    """A grammar: even and odd letters in turn; an end only after each pair; after eight letters nothing but an end."""

    def __init__(self) -> None:
        self.length, self.ended = 0, False

    def allowed(self) -> np.ndarray:
        found = (self.length % 2 == IDS % 2) & (IDS >= 40) & (self.length < 8)
        found[EOS] = self.length % 2 == 0 and self.length > 0
        return found

    def accept(self, token: int) -> bool:
        right = not self.ended and bool(self.allowed()[token])
        self.length += right and token != EOS
        self.ended = self.ended or (right and token == EOS)
        return right


def answer(sampling: Sampling, most: int = 24, toy: Toy | None = None) -> list[TokenStep]:
    """What an engine generates: the tape over the whole vocabulary, from raw logits."""
    toy, state, steps = toy or Toy(1), sampling.begin(), list[TokenStep]()
    for _ in range(most):
        row = toy.logprobs([*PROMPT, *state.output])
        noise = tape.gumbel_row(SEED, len(state.output), VOCAB)
        token = int(np.argmax(state.scores(state.levels(row + 7.25), IDS, noise)))
        best = tuple((int(t), float(row[t])) for t in np.argsort(-row)[:8])
        steps.append(TokenStep(token, "", float(row[token]), best))
        state.accept(token)
        if token in sampling.ends:
            break
    return steps


def rows_of(steps: list[TokenStep], begun: tuple[int, ...] = ()) -> list[Mapping[int, float]]:
    """A validator's prefill: its 64 best and the chosen token."""
    context, found = [*PROMPT, *begun], list[Mapping[int, float]]()
    for step in steps:
        row = Toy(1).logprobs(context)
        found.append({int(t): float(row[t]) for t in [*np.argsort(-row)[:ROW_TOP], step.token]})
        context.append(step.token)
    return found


def facts(steps: list[TokenStep], sampling: Sampling) -> np.ndarray:
    positions = [Position(step.token, step.logprob, step.top, 0.0) for step in steps]
    return answer_facts(positions, rows_of(steps, sampling.begun), sampling.params, SEED, sampling=sampling)


def exact(steps: list[TokenStep], sampling: Sampling, most: int = 24) -> str | None:
    """What stage 0 says of an answer whose request is `sampling`."""
    made, request, record = claim(most, sampling.params, steps=steps)
    return check.check_exact(made, request, record, SPEC, SEED, ENDS, sampling=sampling)


PARAMS = st.builds(
    Params, st.integers(0, 2000), st.integers(1, 64), st.integers(0, 1000), st.integers(0, 1000),
    st.integers(-2000, 2000), st.integers(-2000, 2000), st.integers(100, 10_000) | st.just(1000), st.integers(0, 12),
) | st.builds(Params, st.integers(0, 2000), min_tokens=st.integers(0, 12), repetition_milli=st.integers(100, 3000))
BIAS = st.dictionaries(st.integers(0, VOCAB - 1), st.integers(-100_000, 100_000), max_size=5)


@settings(max_examples=150, deadline=None)
@given(PARAMS, BIAS, st.booleans(), st.lists(st.integers(40, 200), max_size=4))
def test_no_honest_token_loses_or_is_refused(
    params: Params, bias: dict[int, int], bound: bool, begun: list[int]
) -> None:
    """Equal numbers on both sides, so any loss at all would be the rule's fault."""
    nats = {token: milli / 1000 for token, milli in bias.items()}
    sampling = Sampling(params, ENDS, nats, Turns if bound else None, () if bound else tuple(begun))
    steps = answer(sampling)
    assert exact(steps, sampling) is None
    found = facts(steps, sampling)
    assert found[:, LEAD].min() >= -1e-9
    assert found[:, EXCESS].max() <= 1e-9


@pytest.mark.parametrize("grammar", [None, Turns])
def test_begun_tokens_count_and_their_positions_too(grammar: Callable[[], Turns] | None) -> None:
    """An answer that another request continues is the same answer."""
    params = Params(900, presence_milli=700, frequency_milli=200, repetition_milli=1200, min_tokens=6)
    whole = [step.token for step in answer(Sampling(params, ENDS, {}, grammar))]
    for cut in range(1, len(whole) - 1):
        later = Sampling(params, ENDS, {}, grammar, tuple(whole[:cut]))
        steps = answer(later, 24 - cut)
        assert [step.token for step in steps] == whole[cut:]
        assert exact(steps, later, 24 - cut) is None
        plain = Sampling(params, ENDS, {}, grammar)
        if grammar is None:
            assert exact(steps, plain, 24 - cut) is not None, "the tape's positions are those after what was begun"


def test_a_job_says_how_it_is_sampled() -> None:
    job = Job(PROMPT, 9, Params(700), SEED, (5,), (6, 7), (EOS,), ((3, -500),))
    assert sampling_of(job, ENDS) == Sampling(Params(700), ENDS, {3: -0.5}, None, (6, 7))
    assert sampling_of(job, ENDS).begin(job.prefix).output == [6, 7, 5]


@pytest.mark.parametrize("temperature", [0, 1000])
def test_a_token_outside_the_grammar_is_refused(temperature: int) -> None:
    sampling = Sampling(Params(temperature), ENDS, {}, Turns)
    free = answer(replace(sampling, grammar=None), 8)
    assert "breaks the grammar" in str(exact(free, sampling, 8))
    right = answer(sampling)
    assert exact(right, sampling) is None
    assert facts(free, sampling)[:, EXCESS].max() > 1, "stage 1 sees it as well"


def test_an_end_where_the_grammar_may_not_end_is_refused() -> None:
    sampling = Sampling(Params(1000), ENDS, {}, Turns)
    steps = answer(sampling)
    short = [*steps[:3], replace(steps[3], token=EOS, logprob=steps[3].top[-1][1] - 1)]
    assert exact(short, sampling) == "position 3: the token is not allowed, the answer ends too early"


def test_an_answer_that_goes_on_after_the_grammar_s_end_is_refused() -> None:
    sampling = Sampling(Params(1000), ENDS, {}, Turns)
    steps = [step for step in answer(sampling) if step.token != EOS]
    more = [*steps, *(replace(steps[0], token=41 + at) for at in range(24 - len(steps)))]
    assert "breaks the grammar" in str(exact(more, sampling))


def test_an_early_end_is_refused_and_masked() -> None:
    toy = Toy(1)
    toy.logprobs = lambda context: np.log(np.where(IDS == EOS, 0.9, 0.1 / (VOCAB - 1)))  # type: ignore[method-assign]
    late = Sampling(Params(700, min_tokens=10), ENDS)
    steps = answer(late, toy=toy)
    assert [step.token == EOS for step in steps] == [False] * 10 + [True]
    early = answer(replace(late, params=Params(700)), toy=toy)
    assert early[-1].token == EOS
    assert len(early) < 10
    assert "ends too early" in str(exact(early, late))


def test_where_a_grammar_leaves_only_an_end_no_least_length_forbids_it() -> None:
    """Else nothing could be chosen."""
    sampling = Sampling(Params(1000, min_tokens=20), ENDS, {}, Turns)
    steps = answer(sampling)
    assert len(steps) == 9
    assert steps[-1].token == EOS
    assert exact(steps, sampling) is None
    state = sampling.begin([step.token for step in steps[:4]])
    assert not np.asarray(state.allowed(np.array([EOS]))).any(), "while something else may follow, it does"


def test_biases_and_repetition_that_were_left_out_are_seen() -> None:
    plain = Params(1000)
    for asked in (
        Sampling(plain, ENDS, {int(token): -100.0 for token in range(113, 126)}),
        Sampling(msgspec.structs.replace(plain, repetition_milli=3000), ENDS),
    ):
        steps = answer(Sampling(plain, ENDS), 60)
        assert facts(steps, asked)[:, LEAD].min() < -0.5
        assert exact(steps, asked, 60) is not None


def test_the_reason_of_an_end_agrees_with_its_token() -> None:
    sampling = Sampling(Params(1000), ENDS, {}, Turns)
    steps = answer(sampling)
    made, request, record = claim(24, sampling.params, steps=steps, reason=FinishReason.LENGTH)
    said = check.check_exact(made, request, record, SPEC, SEED, ENDS, sampling=sampling)
    assert "disagree about the end" in str(said)
