"""Real vLLM on the CPU with the real small model: each token is what its tape says, whatever the batch does around it.

The KV cache is so small that requests are preempted and come back; others carry no tape. Judged by one prefill per
request: margin = best tape score minus the chosen token's, in nats; honest kernels cost thousandths on average, a
wrong row or position tenths.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import httpx
import jsonschema
import numpy as np
import pytest
import trio
from msgspec.structs import replace
from tokenizers import Tokenizer

from p2p.base.body import Grammar, GrammarKind
from p2p.base.errors import Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.serving_limits import MAX_TOP_K
from p2p.base.types import VERSION, FinishReason, InferenceId, Params, Request, StackClass
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.inference.selftest import Wanted, self_test
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import MODEL_NAME, eos_ids, prepare_model, read_tokenizer, vocabulary_size
from p2p.inference.vllm.engine import VllmClient, http_client
from p2p.inference.vllm.server import vllm_server
from p2p.inference.vllm.tape_args import pack
from p2p.scheduling.metrics import Metrics, parse_metrics
from p2p.text.vocabulary import parse_vocabulary
from p2p.verification import artifact as artifacts
from p2p.verification import check, profile, tape
from p2p.verification.artifact import CHOSEN_STEPS_PER_NAT, Position
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.sampling import Sampling, sampling_of
from p2p.verification.statistics import CHOSEN, LEAD, ROW_TOP, answer_facts
from tests.inference.vllm.counted import COUNTED

SEED = b"\x05" * 32
PARAMS = Params(700)
PENALISED = Params(900, 0, 0, 1000, 1200, 400)
# 768 tokens of KV cache for 15 requests of about 130
FLAGS = ("--max-model-len", "512", "--block-size", "32", "--num-gpu-blocks-override", "24")
COUNTING = ("--scheduler-cls", "tests.inference.vllm.counted.scheduler")  # ours, whose steps are written down
KINDS = (
    PARAMS, Params(1000), Params(1000, 40, 0, 900), PENALISED, Params(800, 0, 50), Params(0),
    Params(0, 0, 0, 1000, 1000, 300),
    Params(1000, 20, 20, 950, 600, 200), Params(1200, 5), Params(700, 30, 0, 800), Params(500),
    Params(1000, 64, 0, 990, -300, -100), Params(900, repetition_milli=1200), Params(700, min_tokens=60),
)
BIAS = ((28, -100_000), (260, 1_500), (970, 700))
ENDS = eos_ids(prepare_model())
LENGTH = 90
PATIENCE_S = 500.0
HONEST = 0.03  # mean margin in nats; 0.0000 was seen for every request
SAME_BITS = 0.005  # one prefill against decodes alone in their batch: 0 was seen (decision 014)
FOREIGN = 0.2  # mean margin under another seed or one position on


async def collect(tokens: AsyncIterator[TokenStep]) -> list[TokenStep]:
    return [step async for step in tokens]


@pytest.mark.engine
async def test_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One start for all, because it takes a minute."""
    monkeypatch.setenv(COUNTED, str(tmp_path / "steps"))
    flags = (*FLAGS, *COUNTING)
    async with vllm_server(prepare_model(), served_name=MODEL_NAME, log=tmp_path / "vllm.log", flags=flags) as url:
        client = VllmClient(url, MODEL_NAME)
        client._http.timeout = httpx.Timeout(PATIENCE_S)  # a preempted request waits until others are done
        prompt = asked("Tell me about the sea.")
        job = Job(prompt, 40, PARAMS, SEED, ends=ENDS)
        steps = await collect(client.generate(job))
        assert [s.token for s in await collect(client.generate(job))] == [s.token for s in steps]
        rest = await collect(client.generate(replace_prefix(job, [s.token for s in steps[:10]])))
        assert [s.token for s in rest][:5] == [s.token for s in steps[10:15]]
        greedy = await collect(
            client.generate(Job(asked("What is the capital of France?"), 20, Params(0), SEED, ends=ENDS))
        )
        assert "Paris" in "".join(s.text for s in greedy)
        await judged(client, prompt, steps)
        await crowded(client, url)
        await resumed_with_penalties(client, prompt)
        await refused(url, job)
        await bound_by_schemas(client)
        await ended_and_begun(client, prompt)
        await cached(client)
        await long_prompts_cost_no_rows(client)
        await answers_before_checks(client, tmp_path / "steps")
        await let_go_at_once(client, url)
        await self_test(client, Wanted(MODEL_NAME, 512, frozenset(ENDS)))
    with pytest.raises(Unavailable):
        await client.score(prompt, prompt[:3], 32)


async def judged(client: VllmClient, prompt: tuple[int, ...], steps: list[TokenStep]) -> None:
    """The shipped calibration accepts an honest answer of the real engine; under another seed, or for another
    prompt, it does not."""
    calibrated = profile.shipped(MODEL_NAME)
    assert calibrated is not None
    stack = await stack_name(client, StackClass.CPU_BF16)
    assert stack == await stack_name(client, StackClass.CPU_BF16) != StackClass.CPU_BF16
    noise = calibrated.noise(stack, stack, context=len(prompt) + len(steps))
    request = Request(VERSION, "n", bytes(32), 1, MODEL_NAME, bytes(32), PARAMS, 200, 40, 100, 50, bytes(32), 40)
    spec = ModelSpec(MODEL_NAME, bytes(32), bytes(32), "bfloat16", 1, 1, 2048)
    made = artifacts.build(
        artifacts.header_for(request, InferenceId(bytes(32)), spec, SEED, prompt, FinishReason.LENGTH), steps
    )
    rows = await client.score(prompt, made.tokens, ROW_TOP)
    facts = answer_facts(made.positions(), rows, PARAMS, SEED)
    # the kernels that were calibrated; others are strangers and may be noisier
    if f"{stack}>{stack}" in calibrated.pairs:
        assert facts[:, LEAD].min() >= 0, "decoded alone, and yet the bits of a prefill"
        assert facts[:, CHOSEN].max() <= 0.5 / CHOSEN_STEPS_PER_NAT + 1e-5, "only the artifact's rounding is left"
    else:
        print(f"{stack} is not calibrated here: tested as a stranger")
    report = check.judge(made, rows, noise)
    assert report.valid, report.reason
    other = artifacts.Artifact(replace(made.header, seed=b"\x09" * 32), made.rows)
    assert not check.judge(other, rows, noise).valid
    wrong_prompt = asked("Recite the first digits of pi.")
    assert not check.judge(made, await client.score(wrong_prompt, made.tokens, ROW_TOP), noise).valid


def replace_prefix(job: Job, prefix: Sequence[int]) -> Job:
    return dataclasses.replace(job, prefix=tuple(prefix))


async def crowded(client: VllmClient, url: str) -> None:
    """Many requests, each with its own parameters and seed, preempted and moved, together with some without a tape."""
    jobs = [
        Job(
            asked(f"Write a long story about number {at}."), LENGTH, params, bytes([100 + at]) * 32, ends=ENDS,
            bias=BIAS if at % 3 == 2 else (),
        )
        for at, params in enumerate(KINDS)
    ]
    found: dict[int, list[int]] = {at: [] for at in range(len(jobs))}
    begun = [trio.Event() for _ in jobs]

    async def one(at: int) -> None:
        if at:
            await begun[at - 1].wait()  # each comes while others run, so that rows are added at many sizes
        async for step in client.generate(jobs[at]):
            found[at].append(step.token)
            begun[at].set()

    async def untaped(at: int) -> None:
        body = {
            "model": MODEL_NAME, "prompt": list(jobs[at].prompt_tokens), "max_tokens": 60, "temperature": 0.9,
            "presence_penalty": 0.5,
        }
        async with http_client(url, "", httpx.Timeout(PATIENCE_S)) as http:
            (await http.post("/v1/completions", json=body)).raise_for_status()

    async with trio.open_nursery() as nursery:
        for at in range(len(jobs)):
            nursery.start_soon(one, at)
        for at in range(3):
            nursery.start_soon(untaped, at)
    assert await preemptions(url) > 0
    for at, job in enumerate(jobs):
        rows = await client.score(job.prompt_tokens, found[at], MAX_TOP_K)
        honest = margins(rows, found[at], job)
        lost = np.mean(np.array(honest) > 0)
        words = f"mean {np.mean(honest):.4f} max {np.max(honest):.3f} lost {lost:.3f}"
        print(at, job.params, len(found[at]), words)
        assert np.mean(honest) < HONEST, f"request {at}"
        if job.params.temperature_milli:
            assert np.mean(margins(rows, found[at], dataclasses.replace(job, seed=b"\x09" * 32))) > FOREIGN
            assert np.mean(margins(rows, found[at], job, shift=1)) > FOREIGN
        if job.params.presence_milli > 500:
            plain = replace(job.params, presence_milli=0, frequency_milli=0)
            forgotten = dataclasses.replace(job, params=plain)
            assert np.mean(margins(rows, found[at], forgotten)) > 2 * np.mean(honest) + HONEST


async def resumed_with_penalties(client: VllmClient, prompt: tuple[int, ...]) -> None:
    """Another engine continues after 40 tokens: those count for its penalties, and its tape starts at position 40."""
    job = Job(prompt, 80, PENALISED, SEED, ends=ENDS)
    first = [step.token for step in await collect(client.generate(job))][:40]
    whole = [*first, *[step.token for step in await collect(client.generate(replace_prefix(job, first)))]]
    rows = await client.score(prompt, whole, MAX_TOP_K)
    late = margins(rows, whole, job)[40:]
    forgotten = margins(rows[40:], whole[40:], job, shift=40)  # as if only the new tokens had been put out
    print("resumed", len(late), np.mean(late), "prefix forgotten", np.mean(forgotten))
    assert len(late) > 10
    assert np.mean(late) < SAME_BITS < np.mean(forgotten)


async def refused(url: str, job: Job) -> None:
    """HTTP 400 that names what is wrong; the engine keeps serving."""
    base = {
        "model": MODEL_NAME, "prompt": list(job.prompt_tokens), "max_tokens": 2, "temperature": 0.0,
        "vllm_xargs": pack(job),
    }
    wrong: tuple[tuple[dict[str, object], str], ...] = (
        ({"temperature": 0.5}, "temperature"), ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"min_tokens": 1}, "min_tokens"), ({"logit_bias": {"5": 2.0}}, "logit_bias"),
        ({"vllm_xargs": {**pack(job), "folkmoot_seed": "00"}}, "folkmoot_seed"),
        ({"vllm_xargs": {**pack(job), "folkmoot_top_p_milli": 900}}, "params"),
        ({"vllm_xargs": pack(dataclasses.replace(job, grammar=Grammar(GrammarKind.REGEX, "(")))}, "grammar"),
    )
    async with http_client(url, "", httpx.Timeout(PATIENCE_S)) as http:
        for change, name in wrong:
            answer = await http.post("/v1/completions", json={**base, **change})
            assert answer.status_code == 400, answer.text
            assert name in answer.text
        assert (await http.post("/v1/completions", json=base)).status_code == 200


async def preemptions(url: str) -> int:
    return (await load(url)).preempted or 0


async def load(url: str) -> Metrics:
    async with http_client(url, "", httpx.Timeout(PATIENCE_S)) as http:
        return parse_metrics((await http.get("/metrics")).text)


SCHEMA = {
    "type": "object", "required": ["name", "age", "likes", "home"], "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 1, "maximum": 120},
        "likes": {"type": "array", "items": {"enum": ["tea", "the sea", "chess", None]}, "maxItems": 3},
        "home": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {
            "city": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"}}, "required": ["city"],
            "additionalProperties": False}]},
    },
}


async def bound_by_schemas(client: VllmClient) -> None:
    """Each answer is valid, and a validator that replays the grammar finds nothing: with equal kernels not a token that
    loses at all. Another grammar, or none, is not what was sampled."""
    grammar = Grammar(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA))
    repeated = Params(800, repetition_milli=1100)
    kinds = (Params(700), Params(1200), Params(0), Params(1000, 40, 0, 950), repeated, PENALISED)
    jobs = [
        Job(asked(f"Describe person {at} as JSON."), 120, kinds[at % len(kinds)], bytes([at]) * 32, ends=ENDS,
            grammar=grammar)
        for at in range(2 * len(kinds))
    ]
    found: list[list[TokenStep]] = [[] for _ in jobs]

    async def one(at: int) -> None:
        found[at] = await collect(client.generate(jobs[at]))

    async with trio.open_nursery() as nursery:
        for at in range(len(jobs)):
            nursery.start_soon(one, at)
    text = parse_vocabulary(read_tokenizer(prepare_model()))
    lost = 0
    for job, steps in zip(jobs, found, strict=True):
        tokens = [step.token for step in steps]
        assert tokens[-1] in ENDS, text.text(tokens)
        value = json.loads(text.text(tokens))
        jsonschema.validate(value, SCHEMA)
        rows = await client.score(job.prompt_tokens, tokens, ROW_TOP)
        facts = answer_facts(published(steps), rows, job.params, job.seed, sampling=rules_of(job))
        lost += int((facts[:, LEAD] < -SAME_BITS).sum())
        assert facts[:, LEAD].min() > -0.5
        free = answer_facts(published(steps), rows, job.params, job.seed)
        assert free[:, LEAD].min() < -0.5, "the mask moved the choice"
    print("schemas", len(jobs), "answers valid,", sum(map(len, found)), "tokens,", lost, "of them lost the tape")


async def ended_and_begun(client: VllmClient, prompt: tuple[int, ...]) -> None:
    """A job's own end tokens end it, in the stream as its last token; the model's own do not. What is begun counts."""
    free = [step.token for step in await collect(client.generate(Job(prompt, 30, Params(0), SEED, ends=ENDS)))]
    cut = await collect(client.generate(Job(prompt, 30, Params(0), SEED, ends=(free[7],))))
    assert [step.token for step in cut] == free[: free.index(free[7]) + 1]
    hello = asked("Say hello.")
    short = await collect(client.generate(Job(hello, 60, Params(0), SEED, ends=ENDS)))
    assert short[-1].token in ENDS
    longer = await collect(client.generate(Job(hello, 60, Params(0, min_tokens=60), SEED, ends=ENDS)))
    assert len(longer) == 60
    assert not {step.token for step in longer} & set(ENDS)
    job = Job(prompt, 40, PENALISED, SEED, ends=ENDS)
    whole = [step.token for step in await collect(client.generate(job))]
    again = Job(prompt, 40 - 15, PENALISED, SEED, (), tuple(whole[:15]), ENDS)
    assert [step.token for step in await collect(client.generate(again))] == whole[15:]


async def cached(client: VllmClient) -> None:
    """The second turn of a session finds the first in the prefix cache and gives the same tokens as without; a stranger
    does not find it."""
    prompt = asked("Tell me a story. " + "It has a cat, a boat and a long way home. " * 12)
    session = b"\x11" * 32
    job = Job(prompt, 24, PARAMS, SEED, ends=ENDS, session=session)
    first = await collect(client.generate(job))
    again = await collect(client.generate(job))
    other = await collect(client.generate(dataclasses.replace(job, session=b"\x12" * 32)))
    alone = await collect(client.generate(dataclasses.replace(job, session=b"")))
    print("cached", first[-1].cached, again[-1].cached, other[-1].cached, alone[-1].cached, "of", len(prompt))
    assert again[-1].cached >= len(prompt) - 32
    assert (first[-1].cached, other[-1].cached, alone[-1].cached) == (0, 0, 0)
    values = [[(step.token, step.logprob, step.top) for step in steps] for steps in (first, again, other, alone)]
    assert values[0] == values[1] == values[2] == values[3], "a cached prefix changes no bit"


async def long_prompts_cost_no_rows(client: VllmClient) -> None:
    """A score brings the rows of the answer, whatever the prompt's length."""
    prompt, output = tuple(range(100, 500)), (5, 6, 7)
    rows = await client.score(prompt, output, 64)
    body = {
        "model": MODEL_NAME, "prompt": [*prompt, *output], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 64,
    }
    limited = await client._post_raw("/v1/completions", {**body, "vllm_xargs": {"folkmoot_score_from": len(prompt)}})
    whole = await client._post_raw("/v1/completions", body, most=1 << 24)
    print("score of 3 tokens after 400:", len(limited), "bytes, of all:", len(whole))
    assert len(limited) < len(whole) // 50
    everything = json.loads(whole)["choices"][0]["prompt_logprobs"][-3:]
    assert [{int(t): entry["logprob"] for t, entry in row.items()} for row in everything] == [dict(row) for row in rows]


async def answers_before_checks(client: VllmClient, steps_file: Path) -> None:
    """Checks come while an answer is made. It is in every step of the engine, checks in few of them, and it is at its
    end before they are, though theirs is the work of a few of its tokens; and neither it nor they have other bits than
    alone. test_answers_first.py says what is counted where nobody limits checks."""
    job = Job(asked("Tell me about the sea."), 60, PARAMS, SEED, ends=ENDS)
    prompts = [tuple(range(100 + at, 500 + at)) for at in range(8)]
    alone = [bits(step) for step in await collect(client.generate(job))]
    scores = [await client.score(prompt[:-4], prompt[-4:], 64) for prompt in prompts]
    order: list[str] = []
    async with trio.open_nursery() as nursery:

        async def check(at: int) -> None:
            engine = client.by(0.0)
            engine._due = int(time.time()) + 3600  # longer than `by` lets it wait: this machine may be busy
            assert await engine.score(prompts[at][:-4], prompts[at][-4:], 64) == scores[at]
            order.append("check")

        steps, begun = [], len(counted(steps_file))
        async with aclosing(client.generate(job)) as tokens:
            async for step in tokens:
                steps.append(step)
                if len(steps) == 1:
                    before = len(counted(steps_file))
                    for at in range(len(prompts)):
                        nursery.start_soon(check, at)
        made, ended = counted(steps_file)[before:], len(counted(steps_file))
        order.append("answer")
    theirs = [checks for _, checks, _, _ in made]
    print("answers before checks:", order, "checks had", sum(theirs), "of", 400 * len(prompts), "tokens, in",
          sum(map(bool, theirs)), "of", len(made), "steps")
    assert not sum(left_out for _, _, _, left_out in made), "a step without the answer"
    assert all(checks <= allowed for _, checks, allowed, _ in made), "vLLM did not ask how many tokens a check may have"
    assert len(made) <= len(steps) + 1, "a token of the answer in each step"
    # the engine may have gone on before the first token was read here, so all steps are looked at
    assert ended - begun >= len(steps) - 1, "each step is written down"
    assert sum(theirs) <= 400 * len(prompts) // 2
    assert [bits(step) for step in steps] == alone
    assert order[-1] == "check"
    assert order.index("answer") <= len(prompts) // 2
    assert await client.by(0.0).score(prompts[0][:-4], prompts[0][-4:], 64) == scores[0], "one that is past due"


def counted(file: Path) -> list[tuple[int, ...]]:
    """The engine's steps: tokens of answers, tokens of checks, how many were allowed, answers without a token."""
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()]


def bits(step: TokenStep) -> tuple[object, ...]:
    return step.token, step.logprob, step.top


async def let_go_at_once(client: VllmClient, url: str) -> None:
    """Nobody reads an answer any more: the engine makes no more of it than what is on its way."""
    before = (await load(url)).made or 0
    endless = Job(asked("Count."), 440, Params(0, min_tokens=440), SEED, ends=ENDS)
    async with aclosing(client.generate(endless)) as tokens:
        for _ in range(3):
            await anext(tokens)
    while (await load(url)).running:
        await trio.sleep(0.1)
    made = ((await load(url)).made or 0) - before
    print("made of an answer of 440 tokens that was left after 3:", made)
    assert 3 <= made < 200


def asked(question: str) -> tuple[int, ...]:
    """The question as a user's only message, as the model's own template writes it."""
    words = Tokenizer.from_str(read_tokenizer(prepare_model()).decode())
    text = f"<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" \
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return tuple(words.encode(text, add_special_tokens=False).ids)


def published(steps: Sequence[TokenStep]) -> list[Position]:
    return [Position(step.token, step.logprob, step.top, 0.0) for step in steps]


def rules_of(job: Job) -> Sampling:
    """How a validator replays a job."""
    begin = None
    if job.grammar is not None:
        model = prepare_model()
        tokens = GrammarTokenizer.from_json(read_tokenizer(model), frozenset(job.ends), vocabulary_size(model))
        begin = compile_grammar(job.grammar, tokens).begin
    return sampling_of(job, frozenset(job.ends), begin)


def margins(rows: Sequence[Row], tokens: Sequence[int], job: Job, shift: int = 0) -> list[float]:
    """Nats by which each token loses under the tape at its position + shift, at most 1; 0 where it wins. A token
    that the masks of this prefill exclude loses by its distance from the mask."""
    found, params, state = [], job.params, rules_of(job).begin()
    scale = params.temperature_milli / 1000.0 or 1.0
    for at, (row, token) in enumerate(zip(rows, tokens, strict=True)):
        ids = np.array(list(row), dtype=np.int64)
        values = np.array(list(row.values()))
        scored = state.scores(values, ids, tape.gumbel_at(job.seed, at + shift, ids.tolist()))
        own = list(row).index(token)
        if np.isfinite(scored[own]):
            loss = scored.max() - scored[own]
        else:
            tempered = state.moved(values, ids) / scale
            loss = min(tape.lowest_kept(tempered, params) - tempered[own], 1.0)
        found.append(min(float(loss) * scale, 1.0))
        state.accept(token)
    return found
