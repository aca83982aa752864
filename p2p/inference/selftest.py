"""The test of an ML node before this peer works with it. Law: a node whose answers validators would refuse is refused
here, with the reason.

A server without our plugin serves tokens like one that has it. But every validator would call its answers cheating,
and the peer would lose its collateral for a wrong flag. So the node answers two questions, and its own prefill scores
the answers: the tokens must be those of the tape, the log-probabilities those of the prefill, and the last token an
end token.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import trio

from p2p.base.body import Body, TextPrompt, one_message
from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.serving_limits import TOP_RANKS
from p2p.base.types import Params
from p2p.inference.vllm.engine import VllmClient
from p2p.text.vocabulary import Vocabulary
from p2p.verification.artifact import Position
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.sampling import sampling_of
from p2p.verification.statistics import LEAD, answer_facts

QUESTIONS = ("Write a line about the sea.", "Say hello.")
PROBE = tuple(range(100, 132))  # instead of them, where this peer cannot make tokens: ids that every vocabulary has
SAMPLED_TOKENS, GREEDY_TOKENS = 16, 16
GENERATIONS = len(QUESTIONS)  # answers that one test asks for
SCORED = 32  # candidates of a scored row
# nats by which a token may lose against the tape's choice: kernels differ by hundredths, without the tape most lose by
# more
MOST_LOST = 1.0
# nats between a token's log-probability when it is made and when it is scored, on average
MOST_APART = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the registry says of the model."""

    model: str
    context_tokens: int
    ends: frozenset[int] = frozenset()  # token ids that end an answer
    vocabulary: int = 0  # how many token ids there are; 0: not known
    text: Words | None = None  # the model's text by this peer's own files, where it has them


class Words(Protocol):
    """What the test needs of a model's text (text/model_text.py)."""

    @property
    def has_template(self) -> bool: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    def prompt(self, body: Body) -> tuple[int, ...]: ...


async def self_test(client: VllmClient, wanted: Wanted) -> None:
    """Test the node behind `client`. Raises Unavailable(field='ml_node', code='unfit') with what is wrong and what to
    do."""
    await _check_model(client, wanted)
    seed, ends, text = os.urandom(32), tuple(sorted(wanted.ends)), wanted.text
    first, second = (_prompt(text, question) for question in QUESTIONS)
    sampled = Job(first, SAMPLED_TOKENS, Params(1000), seed, ends=ends)
    greedy = Job(second, GREEDY_TOKENS, Params(0), seed, ends=ends)
    answers = await _check_answers(client, wanted, (sampled, greedy))
    if text is not None:
        for steps in answers:
            tokens = [step.token for step in steps if step.token not in wanted.ends]
            await _check_text(client, text.vocabulary.text, tokens)


def _prompt(text: Words | None, question: str) -> tuple[int, ...]:
    if text is None:
        return PROBE
    return text.prompt(one_message(question) if text.has_template else Body(TextPrompt(question)))


async def _check_model(client: VllmClient, wanted: Wanted) -> None:
    served = await client.models()
    if served is None:
        raise _unfit("it does not list its models (GET /v1/models); is its key right?")
    if wanted.model not in served:
        names = ", ".join(sorted(served))[:100] or "nothing"
        raise _unfit(f"it serves {names}, not {wanted.model}; start it with --served-model-name {wanted.model}")
    context = served[wanted.model]
    if 0 < context < wanted.context_tokens:
        raise _unfit(
            f"its context is {context} tokens, the registry says {wanted.context_tokens}; "
            f"start it with --max-model-len {wanted.context_tokens}"
        )


async def _check_answers(client: VllmClient, wanted: Wanted, jobs: Sequence[Job]) -> list[list[TokenStep]]:
    """All at once: a peer that is back from an upgrade owes checks, and its test is what it waits for longest."""
    found: list[list[TokenStep]] = [[] for _ in jobs]
    failed: list[FolkmootError] = []

    async def check(at: int) -> None:
        try:
            found[at] = await _check_answer(client, wanted, jobs[at])
        except FolkmootError as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        for at in range(len(jobs)):
            nursery.start_soon(check, at)
    if failed:
        raise failed[0]
    return found


async def _check_answer(client: VllmClient, wanted: Wanted, job: Job) -> list[TokenStep]:
    ends = wanted.ends
    steps = [step async for step in client.generate(job)]
    tokens = [step.token for step in steps]
    if not steps or len(steps) > job.max_tokens:
        raise _unfit(f"it answers with {len(steps)} tokens where 1 to {job.max_tokens} are asked for")
    if any(token < 0 or (wanted.vocabulary and token >= wanted.vocabulary) for token in tokens):
        raise _unfit(f"it answers with token ids beyond the model's vocabulary of {wanted.vocabulary}")
    if any(token in ends for token in tokens[:-1]):
        raise _unfit("it continues after an end token; its model or generation config is not the registered one")
    if ends and len(steps) < job.max_tokens and tokens[-1] not in ends:
        names = ", ".join(map(str, sorted(ends)))
        raise _unfit(f"it ends an answer with token {tokens[-1]}, which is no end token of the model ({names})")
    if any(len(step.top) < TOP_RANKS for step in steps):
        raise _unfit(f"it names fewer than {TOP_RANKS} candidates; start it with --max-logprobs 64")
    rows = await client.score(job.prompt_tokens, tokens, SCORED)
    _check_tape(job, steps, rows)
    return steps


def _check_tape(job: Job, steps: Sequence[TokenStep], rows: Sequence[Row]) -> None:
    if any(step.token not in row or not np.isfinite(step.logprob) for step, row in zip(steps, rows, strict=True)):
        raise _unfit("it scores other tokens than those it was given")
    apart = float(np.mean([abs(step.logprob - row[step.token]) for step, row in zip(steps, rows, strict=True)]))
    if not apart <= MOST_APART:
        raise _unfit(
            f"its log-probabilities differ by {apart:.2f} nats between answer and prefill, {MOST_APART} is allowed; "
            "start it with the default logprobs mode and without quantisation"
        )
    positions = [Position(step.token, step.logprob, step.top, 0.0) for step in steps]
    facts = answer_facts(positions, rows, job.params, job.seed, sampling=sampling_of(job, frozenset(job.ends)))
    lost = -float(facts[:, LEAD].min())
    if not lost <= MOST_LOST:
        raise _unfit(
            "its tokens are not those of the sampling tape; start it with --logits-processors "
            "p2p.inference.vllm.tape:TapeProcessor (python -m p2p.inference.vllm.server does)"
        )


async def _check_text(client: VllmClient, text: Callable[[Sequence[int]], str], tokens: Sequence[int]) -> None:
    """The node must turn tokens into the same text as this peer does: else its tokens are another tokenizer's."""
    theirs, ours = await client.detokenize(tokens), text(tokens)
    if _bare(theirs) != _bare(ours):
        raise _unfit("it turns the same tokens into another text; its tokenizer is not the model's")


def _bare(text: str) -> str:
    """Without blanks around it, and without what remains of a character that the last token cut."""
    return text.strip().rstrip("\ufffd").strip()


def _unfit(why: str) -> Unavailable:
    return Unavailable(f"the ML node is not fit: {why}", field="ml_node", code="unfit")
