"""Measures what stage 0 refuses without a model.

Law: the attack really runs, its claim is built as an executor builds it, and only `check_exact` decides.
"""

from __future__ import annotations

from typing import Any

from p2p.base.body import one_message
from p2p.base.genesis import ModelSpec
from p2p.base.types import VERSION, FinishReason, FinishRecord, InferenceId, Request
from p2p.lab import attacks
from p2p.lab.attacks.base import collect
from p2p.lab.attacks.trial import TRIAL
from p2p.lab.measure.plan import EXACT, EXACT_PROMPTS, FREE
from p2p.text.model_text import ModelText
from p2p.verification import artifact as artifacts
from p2p.verification.check import check_exact
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.prompts import Prompt

_ID = InferenceId(b"\x01" * 32)
_SPEC = ModelSpec("m", b"\x02" * 32, b"\x03" * 32, "bfloat16", 1, 1, 2048)


def refused(job: Job, steps: list[TokenStep], eos: frozenset[int]) -> str | None:
    """What stage 0 says against the claim that an executor would make of these steps; None when it says nothing."""
    if not steps:
        return "the answer is empty or longer than asked for"
    request = Request(
        VERSION, TRIAL, bytes(32), 1, "m", bytes(32), job.params, 4096, job.max_tokens, 1, 9, bytes(32), 0
    )
    reason = FinishReason.STOP if steps[-1].token in eos else FinishReason.LENGTH
    made = artifacts.build(artifacts.header_for(request, _ID, _SPEC, job.seed, job.prompt_tokens, reason), steps)
    record = FinishRecord(_ID, bytes(32), made.root(), made.output_hash(), len(job.prompt_tokens), len(steps), reason)
    return check_exact(made, request, record, _SPEC, job.seed, eos)


async def run(
    honest: Engine, words: ModelText, prompts: tuple[Prompt, ...], eos: tuple[int, ...]
) -> list[dict[str, Any]]:
    """One row for each exact attack: how many answers it changed, and how many of these stage 0 refused.

    The first row counts honest answers to the same prompts, of which none may be refused. words: the model's text. eos:
    the model's end tokens.
    """
    jobs, rows = [], []
    for number, prompt in enumerate(prompts[:EXACT_PROMPTS]):
        ids = words.prompt(one_message(prompt.text))
        jobs.append(Job(ids, min(prompt.max_tokens, 32), FREE, number.to_bytes(32, "big"), ends=eos))
    plain = [await collect(honest.generate(job)) for job in jobs]
    wrongly = sum(refused(job, steps, frozenset(eos)) is not None for job, steps in zip(jobs, plain, strict=True))
    rows.append({"attack": "(honest)", "answers": len(jobs), "refused by stage 0": wrongly})
    for name in EXACT:
        engine, changed, caught = attacks.get(name).wrap(honest, honest), 0, 0
        for job, fair in zip(jobs, plain, strict=True):
            steps = await collect(engine.generate(job))
            if [s.token for s in steps] == [s.token for s in fair]:
                continue  # nothing to lie about here: it ended by itself, or had no old answer
            changed += 1
            caught += refused(job, steps, frozenset(eos)) is not None
        rows.append({"attack": name, "answers": changed, "refused by stage 0": caught})
    return rows
