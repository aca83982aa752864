"""From a signed request to the engine's job, and from another executor's tokens to steps of this answer. Law: no state
of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.limits import TOP_RANKS
from p2p.base.types import SignedRequest, SignedStreamed
from p2p.verification import tape
from p2p.verification.artifact import Position
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.statistics import LEAD, answer_facts

# nats: kernels and stacks differ by a tenth; a token that loses the tape by more was never this model's
PREFIX_DEFICIT = 1.0
PREFIX_CANDIDATES = 32  # of each row of the prefill that scores another executor's tokens


@dataclass(frozen=True, slots=True)
class Assignment:
    """One request that this peer answers, and what its answer must agree with."""

    signed: SignedRequest
    prompt: str
    spec: ModelSpec
    beacon: bytes  # of the draw
    drawn: Sequence[bytes] = ()  # executors of the draw, in the order in which they are asked
    prefix: tuple[int, ...] = ()  # output tokens that earlier executors streamed
    taken: tuple[SignedStreamed, ...] = ()  # their signatures for these


async def make_job(engine: Engine, assignment: Assignment) -> Job:
    """Raises InvalidRequest for a prompt longer than the client allowed or the model's context holds; Unavailable."""
    request, spec = assignment.signed.request, assignment.spec
    prompt_tokens = await engine.tokenize_chat(assignment.prompt)
    if len(prompt_tokens) > request.prompt_tokens_max:
        raise InvalidRequest(
            f"the prompt has {len(prompt_tokens)} tokens, the request allows {request.prompt_tokens_max}; "
            "sign a larger prompt_tokens_max", field="prompt_tokens_max",
        )
    if len(prompt_tokens) + request.max_tokens > spec.context_tokens:
        raise InvalidRequest(
            f"{len(prompt_tokens)} tokens of prompt and max_tokens {request.max_tokens} exceed the model's context of "
            f"{spec.context_tokens} tokens; ask for fewer", field="max_tokens",
        )
    seed = tape.tape_seed(assignment.beacon, assignment.signed.inference_id, request.client_nonce, request.params.seed)
    return Job(prompt_tokens, request.max_tokens, request.params, seed, assignment.prefix)


async def prefix_steps(engine: Engine, job: Job) -> list[TokenStep]:
    """The job's prefix as this engine scores it, for it becomes part of this executor's artifact. Raises
    Unavailable(field='prefix') if a token loses the tape by more than PREFIX_DEFICIT: whoever signs on would vouch for
    another model's tokens."""
    if not job.prefix:
        return []
    rows = await engine.score(job.prompt_tokens, job.prefix, PREFIX_CANDIDATES)
    steps = []
    for token, row in zip(job.prefix, rows, strict=True):
        best = sorted(row.items(), key=lambda item: (-item[1], item[0]))[:TOP_RANKS]
        steps.append(TokenStep(token, "", row[token], tuple(best)))
    positions = [Position(step.token, step.logprob, step.top, 0.0) for step in steps]
    if answer_facts(positions, rows, job.params, job.seed)[:, LEAD].min() < -PREFIX_DEFICIT:
        raise Unavailable(
            "the tokens streamed so far are not this model's, so this peer does not continue them", field="prefix"
        )
    return steps
