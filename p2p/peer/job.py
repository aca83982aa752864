"""From a signed request to the engine's job, and from another executor's tokens to steps of this answer. Law: no state
of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p.base.body import Body
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.serving_limits import TOP_RANKS
from p2p.base.types import NO_SESSION, SignedRequest, SignedStreamed
from p2p.peer.ready_engine import ReadyEngine
from p2p.verification import tape
from p2p.verification.artifact import Position
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.sampling import Sampling
from p2p.verification.statistics import LEAD, answer_facts

# nats: kernels and stacks differ by a tenth; a token that loses the tape by more was never this model's
PREFIX_DEFICIT = 1.0
# Nats that all tokens of a prefix together may lose, and more for each token: honest kernels lose a tenth in one token
# of fifty, a cheap model more than that in one of five.
PREFIX_SUM, PREFIX_SUM_EACH = 0.5, 0.02
PREFIX_CANDIDATES = 32  # of each row of the prefill that scores another executor's tokens


@dataclass(frozen=True, slots=True)
class Assignment:
    """One request that this peer answers, and what its answer must agree with."""

    signed: SignedRequest
    body: Body
    spec: ModelSpec
    beacon: bytes  # of the draw
    drawn: Sequence[bytes] = ()  # executors of the draw, in the order in which they are asked
    prefix: tuple[int, ...] = ()  # output tokens that earlier executors streamed
    taken: tuple[SignedStreamed, ...] = ()  # their signatures for these


def make_job(ready: ReadyEngine, assignment: Assignment) -> tuple[Job, Sampling]:
    """The engine's job, and how its answer is sampled. Takes milliseconds for a long prompt: call it in a thread.

    Raises InvalidRequest for a prompt longer than the client allowed or the model's context holds, or a body that this
    model cannot take; Unavailable without the model's files.
    """
    request, body, spec = assignment.signed.request, assignment.body, assignment.spec
    prompt, begun = ready.words().prompt(body), body.begun_tokens
    length = len(prompt) + len(begun)
    if length > request.prompt_tokens_max:
        raise InvalidRequest(
            f"the prompt has {length} tokens, the request allows {request.prompt_tokens_max}; "
            "sign a larger prompt_tokens_max", field="prompt_tokens_max",
        )
    if length + request.max_tokens > spec.context_tokens:
        raise InvalidRequest(
            f"{length} tokens of prompt and max_tokens {request.max_tokens} exceed the model's context of "
            f"{spec.context_tokens} tokens; ask for fewer", field="max_tokens",
        )
    sampling = ready.sampling(request.params, body, spec)
    seed = tape.tape_seed(
        assignment.beacon, assignment.signed.inference_id, request.client_nonce, request.params.seed
    )
    job = Job(
        prompt, request.max_tokens, request.params, seed, assignment.prefix, begun, tuple(sorted(sampling.ends)),
        body.bias, body.grammar, bytes(request.session) if request.session != NO_SESSION else b"",
    )
    return job, sampling


async def prefix_steps(engine: Engine, job: Job, sampling: Sampling) -> list[TokenStep]:
    """The job's prefix as this engine scores it, for it becomes part of this executor's artifact. Raises
    Unavailable(field='prefix') if a token loses the tape by more than PREFIX_DEFICIT, or all of them together by more
    than PREFIX_SUM allows: whoever signs on would vouch for another model's tokens."""
    if not job.prefix:
        return []
    rows = await engine.score((*job.prompt_tokens, *job.begun), job.prefix, PREFIX_CANDIDATES)
    steps = []
    for token, row in zip(job.prefix, rows, strict=True):
        best = sorted(row.items(), key=lambda item: (-item[1], item[0]))[:TOP_RANKS]
        steps.append(TokenStep(token, "", row[token], tuple(best)))
    positions = [Position(step.token, step.logprob, step.top, 0.0) for step in steps]
    lost = -answer_facts(positions, rows, job.params, job.seed, sampling=sampling)[:, LEAD].clip(max=0.0)
    if lost.max() > PREFIX_DEFICIT or lost.sum() > PREFIX_SUM + PREFIX_SUM_EACH * len(lost):
        raise Unavailable(
            "the tokens streamed so far are not this model's, so this peer does not continue them", field="prefix"
        )
    return steps
