"""Every attack that the design lists is there and really says something else than an honest host; stage 0 refuses the
exact ones.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2p.base.body import Grammar, GrammarKind
from p2p.base.errors import ConfigError, Unavailable
from p2p.base.types import Params
from p2p.lab import attacks
from p2p.lab.attacks import advertisement, censor, late_switch
from p2p.lab.attacks.base import Attack, collect
from p2p.lab.attacks.substitution_10 import cheated
from p2p.peer.job import PREFIX_DEFICIT, prefix_steps
from p2p.verification import check, tape
from p2p.verification.artifact import Position
from p2p.verification.engine import Job, TokenStep
from p2p.verification.marks import MarkedRow
from p2p.verification.statistics import LEAD, ROW_TOP, answer_facts
from testnet.simulated_engine import EOS
from tests.lab.attacks.engine import ToyEngine, rules_of
from tests.verification.toy import PROMPT, SEED, SPEC, calibrated, claim, rows

LISTED = {
    "smaller_model", "int8", "fp8", "int6", "int4", "fp8_kv", "altered_system_prompt", "wrong_temperature",
    "wrong_top_p",
    "wrong_seed", "truncation", "suppressed_eos", "padding", "fabricated_logprobs", "laundered_smaller_model",
    "laundered_int8",
    "laundered_fp8", "laundered_int6", "laundered_int4", "laundered_fp8_kv", "laundered_altered_prompt",
    "substitution_10",
    "temperature_tuned_int4", "replayed_answer", "lazy_validator", "colluding_validator", "framing_validator",
    "copying_validator", "cheap_validator",
    "commit_honest_serve_other", "out_of_vocabulary", "repeated_candidates", "free_claim_taken_over", "eos_prefix",
    "weight_noise", "low_rank", "pruned", "layer_skip", "int5", "rope_theta", "laundered_weight_noise",
    "laundered_low_rank", "laundered_pruned", "laundered_layer_skip", "laundered_int5", "laundered_rope_theta",
    "smart_drafts", "censor", "slipped_penalty", "late_switch", "advertisement", "context_cut",
    "withholding", "ignored_mask", "grammar_dropped", "grammar_broken", "grammar_nudged",
}
PARAMS, TOP_P, MASK = Params(1000), Params(1000, 40, 0, 950), Params(1000, 4)
LONG = 400  # tokens: the toy's answers end before that
ENGINES = [
    name for name, attack in attacks.load().items()
    if not (attack.executor or attack.validator or attack.agent or name == "censor")
]
EXACT = [name for name, attack in attacks.load().items() if attack.exact]


GRAMMAR = Grammar(GrammarKind.JSON_SCHEMA, json.dumps({
    "type": "object", "required": ["who", "many", "kind"], "additionalProperties": False,
    "properties": {
        "who": {"type": "string", "pattern": "^[a-z]{2,6}$"}, "many": {"type": "integer", "minimum": 0, "maximum": 999},
        "kind": {"enum": ["tea", "sea", "chess", None]},
    },
}))


def job_for(name: str) -> Job:
    return replace(_job_for(name), ends=(EOS,))


def bound(number: int = 7) -> Job:
    """A job whose answer must be a value of a schema."""
    return Job(PROMPT, 60, PARAMS, bytes([number]) * 32, ends=(EOS,), grammar=GRAMMAR)


def _job_for(name: str) -> Job:
    if name.startswith("grammar_"):
        return bound()
    if name == "slipped_penalty" or attacks.get(name).needs == "an answer that ends before max_tokens":
        return Job(PROMPT, LONG, PARAMS, SEED)
    if name == "late_switch":
        return Job(PROMPT, 40, PARAMS, SEED)
    if name == "context_cut":
        return Job(PROMPT[:3], 24, PARAMS, SEED)
    if name.endswith("_prompt"):
        return Job(PROMPT[:1], 24, PARAMS, SEED)  # the toy sees three tokens back
    if name == "substitution_10":
        return Job(PROMPT, 24, PARAMS, next(bytes([i]) * 32 for i in range(256) if cheated(bytes([i]) * 32)))
    return Job(PROMPT, 24, {"wrong_top_p": TOP_P, "ignored_mask": MASK}.get(name, PARAMS), SEED)


async def published(attack: Attack, job: Job) -> list[TokenStep]:
    honest = ToyEngine(1)
    inner = ToyEngine(2) if attack.own_engine else honest
    return await collect(attack.wrap(inner, honest).generate(job))


def test_every_listed_attack_is_there_and_each_file_is_registered() -> None:
    known = attacks.load()
    assert set(known) >= LISTED
    shared = {"__init__", "base", "weights", "launder", "sampling", "invent", "touched_up", "trial", "reckless"}
    assert {file.stem for file in Path(attacks.__file__).parent.glob("*.py")} - shared == set(known)
    for name, attack in known.items():
        assert attack.name == name
        assert attack.summary.endswith(".")
        assert attack.caught_by


def test_old_names_and_dashes_work_and_an_unknown_one_is_named() -> None:
    assert attacks.get("smaller-model").name == "smaller_model"
    assert attacks.get("wrong-prompt").name == "altered_system_prompt"
    with pytest.raises(ConfigError) as caught:
        attacks.get("../weights")
    assert caught.value.field == "cheat"


@pytest.mark.parametrize("name", ENGINES)
async def test_it_says_something_else_than_an_honest_host(name: str) -> None:
    attack, job = attacks.get(name), job_for(name)
    said, right = await published(attack, job), await collect(ToyEngine(1).generate(job))
    if attack.own_engine and not attack.weights:
        return  # fp8_kv: the toy has no cache; the stand-in of another salt proves nothing
    assert said
    assert [(s.token, s.top) for s in said] != [(s.token, s.top) for s in right]


async def test_a_censored_word_is_what_the_tape_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that would not have said the word is honest, and one that lost it is caught."""
    job = replace(job_for("censor"), max_tokens=12)
    right = await collect(ToyEngine(1).generate(job))
    said = await published(attacks.get("censor"), job)
    assert [step.token for step in said] == [step.token for step in right], "no such word would have come"
    monkeypatch.setattr(censor, "WORDS", (right[6].token,))
    said = await published(attacks.get("censor"), job)
    assert [step.token for step in said[:6]] == [step.token for step in right[:6]]
    assert right[6].token not in [step.token for step in said]
    assert refused(said, job) is not None or not (await judged(said, job)).valid


async def test_smart_drafts_lie_only_where_the_draft_leads() -> None:
    """With an endless lead wanted every token is the right model's; with none all are the draft's."""
    job = job_for("smart_drafts")
    right = await collect(ToyEngine(1).generate(job))
    cheap = await collect(ToyEngine(2).generate(job))
    for tau, wanted in (("1000", right), ("-1000", cheap)):
        said = await published(attacks.get(f"smart_drafts:{tau}"), job)
        assert [step.token for step in said] == [step.token for step in wanted]
        assert refused(said, job) is None, "its numbers are made to pass stage 0"
    with pytest.raises(ConfigError) as caught:
        attacks.get("int8:0.2")
    assert caught.value.field == "cheat"


async def test_a_late_switch_and_an_advertisement_begin_honestly() -> None:
    for name, honest in (("late_switch", late_switch.HONEST_TOKENS), ("advertisement", advertisement.AFTER)):
        job = job_for(name)
        right, said = await collect(ToyEngine(1).generate(job)), await published(attacks.get(name), job)
        assert [step.token for step in said[:honest]] == [step.token for step in right[:honest]]
        assert [step.token for step in said] != [step.token for step in right]
        assert not (await judged(said, job)).valid


@pytest.mark.parametrize("name", EXACT)
async def test_stage_0_refuses_the_exact_ones(name: str) -> None:
    job = job_for(name)
    said = await published(attacks.get(name), job)
    assert refused(said, job) is not None
    right = await collect(ToyEngine(1).generate(job))
    assert refused(right, job) is None, "honest work passes the same check"


async def test_an_ignored_mask_is_proof_under_equal_kernels() -> None:
    """Its tokens are the model's and none loses the tape: among strangers it is hardly seen."""
    job = job_for("ignored_mask")
    said = await published(attacks.get("ignored_mask"), job)
    assert refused(said, job) is None
    made, _, _ = claim(job.max_tokens, job.params, steps=said)
    report = check.judge(made, rows(ToyEngine(1).toy, made.tokens), calibrated(), equal=True)
    assert (report.valid, "outside the mask" in report.reason) == (False, True)


@pytest.mark.parametrize("number", range(12))
async def test_each_lie_about_a_grammar_is_refused_by_one_answer_s_check(number: int) -> None:
    """Stage 0 where a token is not allowed or a published candidate wins, else stage 1 on equal kernels. Honest answers
    pass both, and are valid."""
    job = bound(number)
    right = await collect(ToyEngine(1).generate(job))
    assert right[-1].token == EOS
    json.loads("".join(step.text for step in right))
    assert refused(right, job) is None
    assert (await judged(right, job)).valid
    dropped = await published(attacks.get("grammar_dropped"), job)
    assert "breaks the grammar" in str(refused(dropped, job))
    broken = await published(attacks.get("grammar_broken"), job)
    assert "the answer ends too early" in str(refused(broken, job))
    nudged = await published(attacks.get("grammar_nudged"), job)
    text = "".join(step.text for step in nudged)
    assert set(json.loads(text)) == {"who", "many", "kind"}, "a nudged answer is valid"
    assert text != "".join(step.text for step in right)
    at = next(at for at, (one, other) in enumerate(zip(nudged, right, strict=False)) if one.token != other.token)
    own = await replayed(nudged, job)
    assert own[at].winner == right[at].token, "whatever it took instead, a validator sees what it should have taken"
    positions = [Position(step.token, step.logprob, step.top, 0.0) for step in nudged]
    lost = -answer_facts(positions, own, job.params, job.seed, sampling=rules_of(job))[at, LEAD]
    assert lost > 0
    caught = refused(nudged, job) is not None or not (await judged(nudged, job)).valid
    assert caught or lost < check.PROOF_NATS, "it passes by a hair"
    assert caught or number == 1, "once of twelve here, by a hair"


async def test_a_nudge_passes_where_nothing_is_to_choose() -> None:
    """Then there is no nudge."""
    job = replace(bound(), grammar=Grammar(GrammarKind.CHOICE, '["abcdef"]'))
    assert await published(attacks.get("grammar_nudged"), job) == await collect(ToyEngine(1).generate(job))


async def replayed(steps: list[TokenStep], job: Job) -> tuple[MarkedRow, ...]:
    answer = replace(job, prompt_tokens=PROMPT, prefix=tuple(step.token for step in steps))
    found = await ToyEngine(1).replay(answer, ROW_TOP)
    return tuple(row for row in found if isinstance(row, MarkedRow))


async def judged(steps: list[TokenStep], job: Job) -> check.CheckResult:
    made, _, _ = claim(job.max_tokens, job.params, steps=steps, seed=job.seed)
    return check.judge(made, await replayed(steps, job), calibrated(), equal=True, sampling=rules_of(job))


@pytest.mark.parametrize(
    "name", ["fabricated_logprobs", "touched_up_int8", "touched_up_int4", "forged_stop", "hidden_eos"]
)
async def test_those_who_know_stage_0_pass_it_and_a_prefill_sees_them(name: str) -> None:
    job = job_for(name)
    said = await published(attacks.get(name), job)
    assert refused(said, job) is None
    made, _, _ = claim(job.max_tokens, job.params, steps=said)
    facts = answer_facts(made.positions(), rows(ToyEngine(1).toy, made.tokens), job.params, SEED)
    assert facts[:, LEAD].min() < -0.5


def refused(steps: list[TokenStep], job: Job) -> str | None:
    made, request, record = claim(job.max_tokens, job.params, steps=steps, seed=job.seed)
    return check.check_exact(made, request, record, SPEC, job.seed, frozenset({EOS}), sampling=rules_of(job))


async def test_laundered_numbers_are_the_honest_model_s_for_the_cheap_text() -> None:
    job = Job(PROMPT, 12, PARAMS, SEED)
    cheap = await collect(ToyEngine(2).generate(job))
    said = await published(attacks.get("laundered_int4"), job)
    assert [s.token for s in said] == [s.token for s in cheap]
    own = await ToyEngine(1).score(PROMPT, [s.token for s in said], 8)
    for step, row in zip(said, own, strict=True):
        assert step.logprob == row[step.token]
        assert set(step.top) <= set(row.items())
        assert len(step.top) == 8


async def test_laundering_goes_on_after_a_prefix() -> None:
    job = Job(PROMPT, 10, PARAMS, SEED, (100, 101, 102))
    said = await published(attacks.get("laundered_int8"), job)
    own = await ToyEngine(1).score(PROMPT, [*job.prefix, *(s.token for s in said)], 8)
    assert len(said) == 7
    assert [s.logprob for s in said] == [row[s.token] for s, row in zip(said, own[3:], strict=True)]


async def test_one_of_ten_is_substituted_and_the_others_are_honest() -> None:
    attack, cheats = attacks.get("substitution_10"), 0
    for number in range(100):
        job = Job(PROMPT, 4, PARAMS, number.to_bytes(32, "big"))
        right = await collect(ToyEngine(1).generate(job))
        cheats += await published(attack, job) != right
        assert (await published(attack, job) != right) == cheated(job.seed), "the same when asked again"
    assert 3 <= cheats <= 20


async def test_the_end_is_masked_and_nothing_else() -> None:
    job = Job(PROMPT, LONG, PARAMS, SEED, ends=(EOS,))
    right = await collect(ToyEngine(1).generate(job))
    assert right[-1].token == EOS, "the toy's answer ends"
    said = await published(attacks.get("suppressed_eos"), job)
    assert len(said) == LONG
    assert said[: len(right) - 1] == right[:-1]
    assert all(step.token != EOS for step in said)
    hidden = await published(attacks.get("hidden_eos"), job)
    assert all(token != EOS for token, _ in hidden[len(right) - 1].top)


async def test_a_replayed_answer_is_the_same_again_without_work() -> None:
    honest = ToyEngine(1)
    cheat = attacks.get("replayed_answer").wrap(honest, honest)
    first = await collect(cheat.generate(Job(PROMPT, 12, PARAMS, b"\x01" * 32)))
    again = await collect(cheat.generate(Job(PROMPT, 12, PARAMS, b"\x02" * 32)))
    assert first == again
    assert len(honest.jobs) == 1


async def test_the_sampling_attacks_change_only_what_they_name() -> None:
    for name, wanted in (
        ("wrong_temperature", Params(1050)), ("temperature_tuned_int4", None), ("wrong_top_p", Params(1000, 40, 0, 900))
    ):
        engine = ToyEngine(1)
        job = job_for(name)
        await collect(attacks.get(name).wrap(engine, engine).generate(job))
        asked = engine.jobs[0]
        assert (asked.prompt_tokens, asked.seed, asked.max_tokens) == (job.prompt_tokens, job.seed, job.max_tokens)
        assert asked.params != job.params
        assert wanted is None or asked.params == wanted


async def test_nobody_takes_over_what_another_model_streamed() -> None:
    """Else a liar streams anything, goes silent, and the next executor signs for it."""
    right = tuple(s.token for s in await collect(ToyEngine(1).generate(Job(PROMPT, 6, PARAMS, SEED))))
    job = Job(PROMPT, 12, PARAMS, SEED, right)
    taken = await prefix_steps(ToyEngine(1), job, rules_of(job))
    assert tuple(step.token for step in taken) == right
    other = (*right[:-1], ToyEngine(2).toy.logprobs([5]).argmin())
    wrong = Job(PROMPT, 12, PARAMS, SEED, tuple(int(t) for t in other))
    with pytest.raises(Unavailable) as caught:
        await prefix_steps(ToyEngine(1), wrong, rules_of(wrong))
    assert caught.value.field == "prefix"


async def test_a_prefix_that_loses_a_little_at_many_places_is_refused_by_the_sum() -> None:
    """Each of its tokens loses less than the bound for one, and a successor would be left with the rest."""
    job, state = Job(PROMPT, 48, PARAMS, SEED), rules_of(Job(PROMPT, 48, PARAMS, SEED)).begin(())
    toy, lost = ToyEngine(1).toy, []
    for at in range(24):
        row = toy.logprobs([*PROMPT, *state.output])
        scores = row + tape.gumbel_row(SEED, at, len(row))
        first, second = (int(token) for token in np.argsort(-scores)[:2])
        near = scores[first] - scores[second] < 0.9 and EOS not in (first, second)
        lost.append(float(scores[first] - scores[second]) if near else 0.0)
        state.accept(second if near else first)
    assert max(lost) < PREFIX_DEFICIT
    assert sum(lost) > 2.0
    wrong = replace(job, prefix=tuple(state.output))
    with pytest.raises(Unavailable) as caught:
        await prefix_steps(ToyEngine(1), wrong, rules_of(wrong))
    assert caught.value.field == "prefix"
