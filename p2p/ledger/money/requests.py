"""What a request must satisfy. Law: each rule names its field; agent, executor and chain ask the same function."""

from __future__ import annotations

from p2p.base.errors import InvalidRequest, unsupported_version
from p2p.base.genesis import ModelSpec
from p2p.base.limits import DEADLINE_MAX_AHEAD, MAX_OUTPUT_TOKENS
from p2p.base.sampling_params import check_params
from p2p.base.types import SPRINT_ACCOUNT, VERSION, Request, SignedRequest
from p2p.ledger.money.accounts import check_spending, why_not
from p2p.ledger.money.price import price_of
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import live_spec


def escrow_of(request: Request, price_micro: int) -> int:
    return (request.prompt_tokens_max + request.max_tokens) * price_micro


def check_request(
    ctx: Context, signed: SignedRequest, *, drawn_at: int | None = None, reserved_micro: int = 0, signer_reserved_micro: int = 0,
) -> ModelSpec:
    """The model's spec when `signed` may start in this block; else InvalidRequest naming the field.

    drawn_at: the height of its draw, at which the model must have been in use; now when left out.
    reserved_micro: escrow of requests this peer took that the chain does not hold yet; signer_reserved_micro: of these by the same signer.
    """
    request = signed.request
    if request.version != VERSION:
        raise InvalidRequest(unsupported_version("protocol", request.version, VERSION), field="version")
    if request.network != ctx.genesis.network:
        raise InvalidRequest(f"this is network {ctx.genesis.network}", field="network")
    if request.account == SPRINT_ACCOUNT:
        raise InvalidRequest("this account asks the sprint's questions only; name your own", field="account")
    if not signed.is_signed():
        raise InvalidRequest("not signed by the signer's key", field="signature")
    spec = live_spec(ctx.view, request.model, drawn_at)
    check_params(request.params)
    most = min(MAX_OUTPUT_TOKENS, spec.context_tokens - 1)  # a prompt has a token
    if not 1 <= request.max_tokens <= most:
        raise InvalidRequest(f"from 1 to {most} tokens can be asked for", field="max_tokens")
    if not 1 <= request.prompt_tokens_max <= spec.context_tokens * 8:
        raise InvalidRequest("the bound on prompt tokens is 0 or beyond the model's context", field="prompt_tokens_max")
    price_micro = price_of(ctx.view, spec)
    if request.max_price_micro < price_micro:
        raise InvalidRequest(f"a token costs {price_micro} micro-credits now", field="max_price_micro")
    if request.deadline_height <= ctx.height:
        raise InvalidRequest(f"the deadline is past; height is {ctx.height - 1}", field="deadline_height")
    if request.deadline_height >= ctx.height + DEADLINE_MAX_AHEAD:
        raise InvalidRequest(f"at most {DEADLINE_MAX_AHEAD} heights ahead", field="deadline_height")
    account = ctx.view.account(request.account)
    if not account.nonce_is_free(request.client_nonce):
        raise InvalidRequest(why_not(account, request.client_nonce), field="client_nonce")
    escrow = escrow_of(request, price_micro)
    check_spending(
        ctx, request, escrow, reserved_micro=reserved_micro, signer_reserved_micro=signer_reserved_micro,
    )
    if account.balance_micro < escrow + reserved_micro:
        raise InvalidRequest(
            f"{escrow} micro-credits are held for this request, the account has {account.balance_micro - reserved_micro}",
            field="balance",
        )
    return spec
