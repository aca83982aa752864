"""Checks one answer for anybody who has the model.

Law: no network and no model of its own; the validators' own checks, and a row for each token. The order is cheapest
first: signatures and hashes of the proof, stage 0, one prefill, stage 1. What cannot be checked is never 'valid'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2p.base.body import Body, body_hash
from p2p.base.genesis import Genesis, ModelSpec
from p2p.base.token_ids import unpack_ids
from p2p.base.types import FinishRecord, Request
from p2p.client.answer_proof import AnswerProof
from p2p.client.receipt import check_receipt
from p2p.verification import check
from p2p.verification.artifact import Artifact, Position, prompt_tokens_hash
from p2p.verification.check import CheckResult
from p2p.verification.profile import Noise
from p2p.verification.sampling import Sampling
from p2p.verification.statistics import DISTANCE, LEAD, answer_facts
from p2p.wire.frames import Accepted, Done

Rows = Sequence[Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One answer to check."""

    request: Request  # what was asked
    finish: FinishRecord  # what is claimed
    beacon: bytes  # of the draw
    body: Body
    artifact: Artifact
    candidates: tuple[bytes, ...] = ()  # who was drawn, in order


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token of an answer. All but the first two are in nats."""

    position: int
    token: int
    published: float  # log-probability, as the executor published it
    own: float  # log-probability, as computed here
    margin: float  # tape score of the best other candidate less the chosen one's; 0 where the chosen one wins
    distance: float  # of the published candidates from those computed here


def proof_problems(proof: AnswerProof, genesis: Genesis | None) -> list[str]:
    """What is wrong with a proof by itself, as sentences: signatures, hashes, tokens that were streamed. Whether the
    draw is right only a chain can say."""
    request = proof.signed_request.request
    if genesis is not None and genesis.network != request.network:
        return [f"the request is for network {request.network}"]
    problems = []
    if not proof.signed_request.is_signed():
        problems.append("the request is not signed by the key it names")
    if body_hash(proof.body) != request.body_hash:
        problems.append("the body is not the one whose hash was signed")
    accepted, done = proof.accepted, Done(proof.finish, proof.artifact)
    return problems + check_receipt(
        accepted.agent, proof.signed_request, accepted, done, list(unpack_ids(proof.tokens)), proof.text
    )


def chain_problems(
    record: FinishRecord, accepted: Accepted, found: Mapping[str, Any] | None, beacon: bytes | None
) -> list[str]:
    """Where a peer's chain says something else than the finish record, or than the client was told of the draw.

    found: the chain's answer to `inference`; None: it is unknown there. beacon: of the draw's height; None: that block
    is not there.
    """
    if found is None:
        return ["the chain has no such inference"]
    if not found.get("artifact_root"):
        return ["the chain has no finish record of it"]
    facts = (
        (found.get("artifact_root") == record.artifact_root.hex(), "the chain has another artifact root"),
        (found.get("executor") == record.executor.hex(), "the chain has another executor"),
        (found.get("output_tokens") == record.output_tokens, "the chain has another length"),
        (found.get("prompt_tokens") == record.prompt_tokens, "the chain has another prompt length"),
        (found.get("agent") == accepted.agent.hex(), "the chain has another agent"),
        (found.get("candidates") == [node.hex() for node in accepted.candidates], "the chain drew others"),
        (beacon in (None, accepted.beacon), "the chain has another beacon at the draw's height"),
    )
    return [sentence for holds, sentence in facts if not holds]


def claimed_spec(case: Case) -> ModelSpec:
    """The model as the artifact itself names it: for a check without a genesis file, which proves nothing about
    weights."""
    header = case.artifact.header
    return ModelSpec(header.model, header.weights_hash, header.template_hash, header.precision, 0, 0, 0)


def exact_problem(
    case: Case, spec: ModelSpec, seed: bytes, eos_ids: frozenset[int], prompt_tokens: Sequence[int],
    sampling: Sampling | None = None,
) -> str | None:
    """Stage 0, and the prompt's tokens as the checker's own files give them, those of `Body.begun` included. sampling:
    how the body wants the answer sampled; None: by the request's parameters alone."""
    header = case.artifact.header
    as_claimed = (case.finish.prompt_tokens, header.prompt_tokens_hash)
    if (len(prompt_tokens), prompt_tokens_hash(prompt_tokens)) != as_claimed:
        return "the prompt's tokens are not those that this model's template gives"
    return check.check_exact(
        case.artifact, case.request, case.finish, spec, seed, eos_ids, drawn=case.candidates, sampling=sampling
    )


def judged(
    case: Case, rows: Rows, noise: Noise, ppm: int = check.FALSE_ALARM_PPM, *, equal: bool = False,
    sampling: Sampling | None = None,
) -> CheckResult:
    """Stage 1. ppm: the network's wanted rate of false alarms. equal, sampling: as in check.judge."""
    return check.judge(case.artifact, rows, noise, ppm=ppm, equal=equal, sampling=sampling)


def table(artifact: Artifact, rows: Rows, sampling: Sampling | None = None) -> list[TokenRow]:
    """One row per token; needs a prefill that covers the answer. sampling: as in check.judge."""
    positions: tuple[Position, ...] = artifact.positions()
    facts = answer_facts(positions, rows, artifact.header.params, artifact.header.seed, sampling=sampling)
    return [
        TokenRow(i, p.token, p.logprob, row[p.token], max(-float(f[LEAD]), 0.0), float(f[DISTANCE]))
        for i, (p, row, f) in enumerate(zip(positions, rows, facts, strict=True))
    ]
