"""Signs a request, on what is proved or bounded.

Law: what it may cost is told before it is signed; where something is wrong, nothing is signed and no nonce is used.
"""

from __future__ import annotations

from msgspec import to_builtins
from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import ConfigError, InvalidRequest, Unavailable
from p2p.base.keys import Domain, Key, digest, public_key_of
from p2p.base.types import VERSION, Request, SignedRequest
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.proofs.serving import ServingProof, open_serving
from p2p.client.draw_check import DrawCheck
from p2p.client.question import AskSpec, Terms, prompt_bound
from p2p.client.tip_proof import Ground, Prover, Question, next_nonce, price_limit
from p2p.wire.answers.blocks import ServingAnswer
from p2p.wire.answers.reading import read

NONCE_TRIES = 48  # below the ledger's window: a nonce chosen ahead leaves those of the account's other requests free


async def prepare(spec: AskSpec, question: Question) -> tuple[SignedRequest, DrawCheck]:
    """The signed request, and what is known of its draw. question: asks the peer that will get it. Raises
    FolkmootError; then nothing is signed."""
    if spec.genesis is None:
        raise ConfigError("without the network's genesis file nothing that a peer says can be proved", field="genesis")
    prover = Prover(spec.genesis, question, spec.agent)
    ground = spec.ground or await prover.ground(spec.payer, spec.model, spec.notices_since)
    if spec.on_notices is not None and ground.tip.notices:
        spec.on_notices([to_builtins(notice) for notice in ground.tip.notices])
    terms = await _terms(spec, prover, ground)
    if spec.on_terms is not None:
        spec.on_terms(terms)
    lowest = ground.tip.next_nonce
    if spec.ground is None:
        lowest = await next_nonce(prover, ground, spec.payer, spec.nonces)
    drawn = DrawCheck(spec.genesis, spec.model, ground.height, beacon=ground.beacon, facts=ground.facts)
    serving = await _serving(spec, ground.height, question) if spec.choose_executor is not None else None
    return _sign(spec, ground, terms, lowest, serving), drawn


async def _terms(spec: AskSpec, prover: Prover, ground: Ground) -> Terms:
    """What it may cost. Raises InvalidRequest where a token costs more than is allowed."""
    seen = ground.tip.price_micro
    if seen is None:
        raise InvalidRequest(f"peer {prover.peer} knows no model {spec.model[:60]!r}", field="model")
    known = spec.known_prices.get(spec.model) if spec.known_prices is not None else None
    if known is None:
        known = next((model.price_micro for model in prover.genesis.models if model.model == spec.model), None)
    if known is None and spec.max_price_micro is None:  # a model that came by a vote, and was never asked for from here
        known = await prover.price(ground.facts, spec.model, ground.height)
    limit = price_limit(spec.model, seen, known or seen, spec.max_price_micro)
    return Terms(seen, limit, spec.tokens, ground.tip.balance_micro)


async def _serving(spec: AskSpec, height: int, question: Question) -> WeightedDraw:
    """From whom a draw at `height` is made, by the peer's word: for a choice of nonce, which proves nothing."""
    answer = await question({"op": "serving", "model": spec.model, "height": height})
    proof = read(ServingAnswer, answer, "serving", spec.agent).proof
    return open_serving(unpack(ServingProof, bytes.fromhex(proof)), spec.model, height)[0]


def _sign(spec: AskSpec, ground: Ground, terms: Terms, lowest: int, serving: WeightedDraw | None) -> SignedRequest:
    """lowest: nonce that may be used. serving: from whom the draw will be made, where an executor is chosen."""
    agent = public_key_of(spec.agent)
    request = Request(
        VERSION, spec.network, spec.payer, 0, spec.model, digest(b"prompt", spec.prompt.encode()), spec.params,
        prompt_bound(spec.prompt), spec.max_tokens, terms.max_price_micro, ground.height + spec.deadline_ahead,
        spec.key.public, ground.height, agent,
    )

    def with_nonce(nonce: int) -> SignedRequest:
        return _signed(spec.key, replace(request, client_nonce=nonce))

    def choose(lowest: int) -> int:
        if spec.choose_executor is None:
            return lowest
        for nonce in range(lowest, lowest + NONCE_TRIES):
            if serving is None:
                break
            first = draw_executors(ground.beacon, with_nonce(nonce).inference_id, serving, agent, 1)
            if first == (spec.choose_executor,):
                return nonce
        raise Unavailable("no nonce draws the executor wanted; does it serve the model?", field="choose_executor")

    if spec.nonce is not None:
        return with_nonce(spec.nonce)
    return with_nonce(choose(lowest) if spec.nonces is None else spec.nonces.take(spec.payer, lowest, choose))


def _signed(key: Key, request: Request) -> SignedRequest:
    return SignedRequest(request, key.sign(Domain.REQUEST, request.network, encode(request)))
