"""One attack on one prompt, without a network.

Law: the real engines, the real artifact, the real checks.

The request is signed by a key made for it, and the beacon is random, so nobody could have prepared for the tape.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from p2p.base.codec import encode
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain, Key, NetworkId
from p2p.base.types import VERSION, FinishReason, FinishRecord, Params, Request, SignedRequest
from p2p.lab.attacks.base import collect
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from p2p.verification.artifact import Artifact
from p2p.verification.engine import Engine, Job
from p2p.verification.statistics import ROW_TOP

TRIAL = NetworkId("trial")  # no genesis file has this id, so what is signed here counts nowhere


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one attack."""

    text: str  # of the answer
    artifact: Artifact
    exact: str | None  # what stage 0 says is wrong; None when it says nothing
    rows: tuple[Mapping[int, float], ...]  # the honest engine's prefill: {token: log-probability} for each output token


async def attempt(
    engine: Engine, honest: Engine, spec: ModelSpec, prompt_tokens: tuple[int, ...], params: Params, max_tokens: int,
    *, stack: str, network: NetworkId = TRIAL,
) -> Trial:
    """Ask `engine` (an attack's, or an honest one) and check its answer with `honest`. spec: names the model's end
    tokens. stack: what it claims to run."""
    key, beacon = Key.generate(), os.urandom(32)
    request = Request(
        VERSION, network, key.public, 1, spec.model, bytes(32), params, len(prompt_tokens),
        max_tokens, 0, 1, key.public, 0,
    )
    inference_id = SignedRequest(request, key.sign(Domain.REQUEST, network, encode(request))).inference_id
    seed = tape.tape_seed(beacon, inference_id, request.client_nonce, request.params.seed)
    ends = frozenset(spec.eos_ids)
    steps = await collect(engine.generate(Job(prompt_tokens, max_tokens, params, seed, ends=spec.eos_ids)))
    reason = FinishReason.STOP if steps and steps[-1].token in ends else FinishReason.LENGTH
    artifact = artifacts.build(
        artifacts.header_for(request, inference_id, spec, seed, prompt_tokens, reason, stack=stack), steps
    )
    finish = FinishRecord(
        inference_id, key.public, artifact.root(), artifact.output_hash(), len(prompt_tokens), artifact.length, reason,
        str(stack)
    )
    exact = check.check_exact(artifact, request, finish, spec, seed, ends)
    rows = await honest.score(prompt_tokens, artifact.tokens, ROW_TOP) if steps else ()
    return Trial("".join(step.text for step in steps), artifact, exact, rows)
