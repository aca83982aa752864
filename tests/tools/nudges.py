"""`make nudges`: a host bends an answer inside its grammar, at one token; is it refused, and is no honest token?

Where the tape's own token is better by less than rounding may do (EXACT_NATS), or where a token is too near the edge
of a mask to tell, one token alone is no proof. Such nudges are counted apart. Real vLLM. Each question is answered
honestly once, and once by the attack `grammar_nudged`; a validator's checks look at both: stage 0, then one replay by
the same engine (equal kernels). Exit code 1 when a nudge passes, an honest answer is refused, or an honest token loses.

    python -m tests.tools.nudges [--count 40]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import trio

from p2p.base.body import Body, Grammar, GrammarKind, one_message
from p2p.base.genesis import ModelSpec
from p2p.base.types import VERSION, FinishReason, FinishRecord, InferenceId, Params, Request, StackClass
from p2p.grammar.request_sampling import request_sampling
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import MODEL_NAME, eos_ids, prepare_model, read_tokenizer, vocabulary_size
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import vllm_server
from p2p.lab import attacks
from p2p.lab.attacks.base import collect
from p2p.text.model_files import read_model_text
from p2p.verification import artifact as artifacts
from p2p.verification import check, profile
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.marks import MarkedRow, rows_of
from p2p.verification.sampling import Sampling
from p2p.verification.statistics import EXACT_NATS, EXCESS, LEAD, ROW_TOP, answer_facts

PATIENCE_S = 600.0
MOST = 120  # tokens of an answer
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
GRAMMARS = (
    Grammar(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA)), Grammar(GrammarKind.REGEX, "([A-Z][a-z]{2,8} ){3}[0-9]{3,6}"),
    Grammar(GrammarKind.CHOICE, json.dumps([f"{word} {number}" for word in ("blue", "seven", "Oslo")
                                            for number in range(30)])),
)
KINDS = (
    Params(1000), Params(700), Params(1200), Params(0), Params(1000, 40, 0, 950), Params(1000, 0, 50),
    Params(800, repetition_milli=1100), Params(900, 0, 0, 1000, 600, 200),
)


@dataclass
class Found:
    """Counts."""

    honest: int = 0  # answers
    tokens: int = 0  # of them
    lost: int = 0  # honest tokens that lose the tape
    refused: int = 0  # honest answers
    nudged: int = 0  # answers in which the attack found something to bend
    by: Counter[str] = field(default_factory=Counter)  # what caught it
    hidden: int = 0  # nudges whose winner was outside the likeliest tokens


@dataclass(frozen=True, slots=True)
class Bench:
    """What judges answers."""

    engine: Engine
    sampling: Sampling
    body: Body
    spec: ModelSpec
    noise: profile.Noise
    stack: str

    async def judged(self, job: Job, steps: list[TokenStep]) -> tuple[str, tuple[MarkedRow, ...], list[float]]:
        """(what refuses it: '' nothing, its rows, by how many nats each token loses or is outside the mask: 0 where it
        wins)."""
        ended = steps[-1].token in job.ends
        reason = FinishReason.STOP if ended else FinishReason.LENGTH
        request = Request(
            VERSION, "n", bytes(32), 1, MODEL_NAME, self.body.hash, job.params, 4096, job.max_tokens, 1, 9, bytes(32), 0
        )
        ident = InferenceId(bytes(32))
        header = artifacts.header_for(
            request, ident, self.spec, job.seed, job.prompt_tokens, reason, stack=self.stack
        )
        made = artifacts.build(header, steps)
        finish = FinishRecord(
            ident, bytes(32), made.root(), made.output_hash(), len(job.prompt_tokens), made.length, reason, self.stack
        )
        exact = check.check_exact(
            made, request, finish, self.spec, job.seed, frozenset(job.ends), sampling=self.sampling
        )
        rows = await rows_of(self.engine, job.prompt_tokens, made, self.body, self.sampling, ROW_TOP)
        facts = answer_facts(made.positions(), rows, job.params, job.seed, sampling=self.sampling)
        report = check.judge(made, rows, self.noise, equal=True, sampling=self.sampling)
        caught = f"stage 0: {exact}" if exact else "" if report.valid else f"stage 1: {report.reason}"
        marked = tuple(row for row in rows if isinstance(row, MarkedRow))
        assert len(marked) == len(steps)
        return caught, marked, np.maximum(-facts[:, LEAD], facts[:, EXCESS]).clip(min=0.0).tolist()


async def question(client: VllmClient, number: int, stack: str, found: Found) -> None:
    model, grammar, params = prepare_model(), GRAMMARS[number % len(GRAMMARS)], KINDS[number % len(KINDS)]
    body = replace_grammar(one_message(f"Describe person {number}."), grammar)
    ends, vocabulary = eos_ids(model), vocabulary_size(model)
    sampling = request_sampling(params, body, frozenset(ends), read_tokenizer(model), vocabulary, patient=True)
    prompt = read_model_text(model).prompt(body)
    job = Job(prompt, MOST, params, number.to_bytes(32, "big"), ends=ends, grammar=grammar)
    known = profile.shipped(MODEL_NAME)
    assert known is not None
    noise = known.noise(stack, stack, context=len(prompt) + MOST)
    spec = ModelSpec(MODEL_NAME, bytes(32), bytes(32), "bfloat16", 1, 1, 2048, vocabulary=vocabulary)
    bench = Bench(client, sampling, body, spec, noise, stack)
    honest = await collect(client.generate(job))
    caught, _, margins = await bench.judged(job, honest)
    lost = sum(margin > 0 for margin in margins)
    found.honest += 1
    found.tokens += len(honest)
    found.lost += lost
    found.refused += bool(caught)
    if caught or lost:
        print(f"HONEST {number}: {params} {caught} {lost} tokens lost", flush=True)
    nudged = await collect(attacks.get("grammar_nudged").wrap(client, client).generate(job))
    tokens = [step.token for step in nudged]
    if tokens == [step.token for step in honest]:
        return
    at = next(at for at, (one, other) in enumerate(zip(tokens, honest, strict=False)) if one != other.token)
    caught, rows, margins = await bench.judged(job, nudged)
    best = sorted(rows[at].values(), reverse=True)[:ROW_TOP - 2]
    found.nudged += 1
    found.hidden += rows[at][honest[at].token] < best[-1]
    found.by[caught.split(":")[0] or ("passed by a hair" if margins[at] < EXACT_NATS else "PASSED")] += 1
    print(f"{number}: {grammar.kind}, {len(nudged)} tokens, lost by {margins[at]:.3f} nats at {at}: "
          f"{caught[:90] or 'passed'}", flush=True)


def replace_grammar(body: Body, grammar: Grammar) -> Body:
    return Body(body.prompt, grammar=grammar)


async def measure(count: int, keep: Path | None) -> Found:
    model, found = prepare_model(), Found()
    with tempfile.TemporaryDirectory() as folder:
        log = (keep or Path(folder)) / "vllm.log"
        async with vllm_server(model, served_name=MODEL_NAME, log=log, progress=print) as url:
            client = VllmClient(url, MODEL_NAME)
            client._http.timeout = httpx.Timeout(PATIENCE_S)
            stack = await stack_name(client, StackClass.CPU_BF16)
            for number in range(count):
                await question(client, number, stack, found)
                if number % 10 == 9:
                    print(f"[{time.strftime('%H:%M:%S')}] {found}", file=sys.stderr, flush=True)
            await client.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="questions (default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="DIR", help="keep vLLM's log there")
    options = parser.parse_args()
    found = trio.run(measure, options.count, options.log)
    by_a_hair = found.by["passed by a hair"]
    caught = found.nudged - found.by["PASSED"] - by_a_hair
    print(f"nudges caught: {caught} of {found.nudged} ({dict(found.by)}); the token that should have won was outside "
          f"the likeliest {ROW_TOP - 2} in {found.hidden}")
    print(f"{by_a_hair} passed, the tape's own token better by less than {EXACT_NATS} nats, or at the edge of a mask")
    print(f"honest: {found.honest} answers, {found.refused} refused; {found.tokens} tokens, {found.lost} lost")
    return 1 if found.by["PASSED"] or found.refused or found.lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
