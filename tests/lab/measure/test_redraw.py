"""Choices drawn again on the simulated model: equal numbers lose nothing whatever was asked for, other ones a little,
another model much; a host that drops a mask is outside of it."""

from __future__ import annotations

import numpy as np
import pytest

from p2p.lab.measure.contexts import RUN
from p2p.lab.measure.facts import base
from p2p.lab.measure.plan import TORCH, VLLM, by_name
from p2p.lab.measure.redraw import SPACE_DRAWS, Redrawn
from p2p.lab.measure.store import Answer, Measured
from p2p.verification.statistics import CHOSEN, COLUMNS, DECIDED, EXCESS, LEAD, beyond_rounding
from testnet.simulated_engine import EOS, Toy
from tests.verification.toy import PARAMS, PROMPT, Noisy, generate, rows

TEXTS, TOKENS = 3, 30


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Redrawn:
    """Texts of the toy; vLLM's numbers are its own, torch's have noise, int8's are another model's."""
    measured = Measured(tmp_path_factory.mktemp("measured"))
    contexts = Measured(measured.directory / "contexts")
    seeds = [bytes([at]) * 32 for at in range(TEXTS)]
    texts = [tuple(generate(Toy(1), TOKENS, PARAMS, seed)) for seed in seeds]
    contexts.put_answers(RUN, [
        Answer(f"chat-{at}", seeds[at].hex(), tuple(PROMPT), text) for at, text in enumerate(texts)
    ])
    contexts.note("space", "ends", [EOS])
    measured.note("space", "seed", 3)
    for name, model in ((VLLM, Toy(1)), (TORCH, Noisy(run=4)), ("int8", Noisy(grid=1.6, run=5))):
        contexts.put_rows(RUN, name, [rows(model, tuple(step.token for step in text)) for text in texts])
    return Redrawn(measured, contexts)


def test_honest_draws_lose_a_little_and_only_across(evidence: Redrawn) -> None:
    assert not evidence.has("redrawn_space", VLLM), "one's own numbers prove nothing"
    assert not evidence.has("space_a", TORCH), "this one is generated or not at all"
    assert not evidence.is_generated("honest_b16")
    ids, found = evidence.facts("redrawn_space", TORCH)
    assert len(ids) == len(set(ids)) == TEXTS * SPACE_DRAWS
    assert found.values.shape == (sum(found.lengths), len(COLUMNS))
    decided = found.values[:, DECIDED] > 0
    assert 0.5 < decided.mean() < 1.0, "some hang on an edge"
    lost = found.values[decided, LEAD]
    assert 0 < (lost < 0).mean() < 0.1
    assert lost.min() > -1.0
    assert (found.values[:, EXCESS] > 0).mean() < 0.01


def test_cheats_are_drawn_with_their_own_numbers(evidence: Redrawn) -> None:
    for case in ("int8", "laundered_int8"):
        cheap = evidence.facts(case, VLLM)[1].values
        assert beyond_rounding(cheap).mean() > 0.1, case
    for case in ("wrong_seed", "wrong_temperature"):
        assert beyond_rounding(evidence.facts(case, VLLM)[1].values).mean() > 0.02, case
    assert not evidence.has("forged_stop", VLLM), "nobody scored it"


def test_a_dropped_mask_is_seen_in_the_real_tokens(evidence: Redrawn) -> None:
    for validator in (VLLM, TORCH):
        found = evidence.facts("ignored_top_k_5", validator)[1].values
        assert (found[:, EXCESS] > 0).mean() > 0.1
        assert not found[:, LEAD].any()


def test_loosened_masks_and_the_parameters_of_draws(evidence: Redrawn) -> None:
    found = evidence.facts("loosened_min_p_0.1", VLLM)[1].values
    assert beyond_rounding(found).mean() > 0.0
    asked = evidence.asked("redrawn_space")
    assert len({str(one) for one in asked.values()}) > 0.9 * len(asked)
    assert len(set(map(str, evidence.asked("ignored_top_k_5").values()))) == 1
    assert np.isfinite(evidence.edge(VLLM, TORCH))


def test_real_answers_that_both_stacks_scored_are_seen_from_the_other_side(evidence: Redrawn) -> None:
    """vLLM's answers to the clients' space stand for torch's: torch's choices and numbers, each text once, as it was
    asked for."""
    measured, prompts = Measured(evidence.measured.directory / "mirrored"), ("chat-0", "chat-1")
    measured.note("space", "seed", 3)
    measured.note("space", "ends", [EOS])
    found = Redrawn(measured, evidence.contexts)
    run = by_name("space_a")
    answers = [Answer(name, evidence._texts()[at].seed, tuple(PROMPT), evidence._texts()[at].steps)
               for at, name in enumerate(prompts)]
    measured.put_answers(run.name, [*answers, Answer("chat-2", "00", tuple(PROMPT), ())])
    for stack, model in ((VLLM, Toy(1)), (TORCH, Noisy(run=9))):
        assert not found.has("mirrored_space_torch", VLLM), "both must have scored them"
        measured.put_rows(run.name, stack, [*(rows(model, answer.tokens) for answer in answers), []])
    assert found.has("mirrored_space_torch", VLLM)
    assert not found.has("mirrored_space_torch", TORCH), "one's own numbers prove nothing"
    ids, facts = found.facts("mirrored_space_torch", VLLM)
    assert [base(id_) for id_ in ids] == list(prompts)
    asked, real = found.asked("mirrored_space_torch"), found.asked(run.name)
    assert all(asked[id_] == real[base(id_)] for id_ in ids)
    assert facts.lengths == tuple(len(answer.steps) for answer in answers)
    assert 0 < facts.values[:, CHOSEN].mean() < 0.2, "torch's numbers, and vLLM's"
