"""What a request must satisfy. Law: each rule names its field; agent, executor and chain ask the same function."""

from __future__ import annotations

from p2p.codec import encode
from p2p.errors import InvalidRequest
from p2p.keys import Domain, verify
from p2p.ledger.price import price_of
from p2p.ledger.view import View
from p2p.limits import DEADLINE_MAX_AHEAD, MAX_OUTPUT_TOKENS
from p2p.params import check_params
from p2p.types import VERSION, Genesis, ModelSpec, Request, SignedRequest


def model_spec(genesis: Genesis, model: str) -> ModelSpec | None:
    return next((spec for spec in genesis.models if spec.model == model), None)


def serving(view: View, model: str) -> list[tuple[bytes, int]]:
    """(node, weight) of the participants that serve `model`, by key; none that is convicted or suspended."""
    return sorted(
        (p.node, p.weight) for p in view.participants()
        if model in p.models and p.weight > 0 and not p.convicted_until and not p.suspended_until
    )


def checking(view: View, model: str) -> list[tuple[bytes, int]]:
    """(node, weight) of those who may be drawn to check `model`: they serve it and are not barred."""
    return [(node, weight) for node, weight in serving(view, model) if voting_weight(view, node)]


def voting_weight(view: View, node: bytes) -> int:
    """What a verdict of `node` weighs: nothing while it is barred or convicted."""
    participant = view.participant(node)
    if participant is None or participant.barred_until or participant.convicted_until:
        return 0
    return participant.weight


def epoch_of(genesis: Genesis, height: int) -> int:
    """Heights 1..E are epoch 0."""
    return max(height - 1, 0) // genesis.epoch_blocks


def escrow_of(request: Request, price_micro: int) -> int:
    return (request.prompt_tokens_max + request.max_tokens) * price_micro


def check_request(view: View, genesis: Genesis, signed: SignedRequest, height: int, *, reserved_micro: int = 0) -> ModelSpec:
    """The model's spec when `signed` may start after `height`; else InvalidRequest naming the field.

    reserved_micro: escrow of requests this peer took that the chain does not hold yet.
    """
    request = signed.request
    if request.version != VERSION:
        raise InvalidRequest(f"version {request.version} is not spoken here; use {VERSION}", field="version")
    if request.network != genesis.network:
        raise InvalidRequest(f"this is network {genesis.network}", field="network")
    if not verify(request.account, Domain.REQUEST, genesis.network, encode(request), signed.signature):
        raise InvalidRequest("not signed by the account's key", field="signature")
    spec = model_spec(genesis, request.model)
    if spec is None:
        names = ", ".join(s.model for s in genesis.models)
        raise InvalidRequest(f"model {request.model!r} is not on this network; there are: {names}", field="model")
    check_params(request.params)
    if not 1 <= request.max_tokens <= MAX_OUTPUT_TOKENS:
        raise InvalidRequest(f"from 1 to {MAX_OUTPUT_TOKENS} tokens can be asked for", field="max_tokens")
    if not 1 <= request.prompt_tokens_max <= spec.context_tokens * 8:
        raise InvalidRequest("the bound on prompt tokens is 0 or beyond the model's context", field="prompt_tokens_max")
    price_micro = price_of(view, spec)
    if request.max_price_micro < price_micro:
        raise InvalidRequest(f"a token costs {price_micro} micro-credits now", field="max_price_micro")
    if request.deadline_height <= height + 1:
        raise InvalidRequest(f"the deadline is past; height is {height}", field="deadline_height")
    if request.deadline_height > height + DEADLINE_MAX_AHEAD:
        raise InvalidRequest(f"at most {DEADLINE_MAX_AHEAD} heights ahead", field="deadline_height")
    account = view.account(request.account)
    if not account.nonce_is_free(request.client_nonce):
        raise InvalidRequest(f"nonce {request.client_nonce} was used; the next is {account.nonce_high + 1}", field="client_nonce")
    escrow = escrow_of(request, price_micro)
    if account.balance_micro < escrow + reserved_micro:
        raise InvalidRequest(
            f"{escrow} micro-credits are held for this request, the account has {account.balance_micro - reserved_micro}",
            field="balance",
        )
    return spec
