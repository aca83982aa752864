"""What a request must satisfy. Law: agent, executor and chain ask the same function, and each refusal names its field.
"""

from __future__ import annotations

from p2p.base.errors import InvalidRequest, unsupported_version
from p2p.base.genesis import ModelSpec
from p2p.base.limits import DEADLINE_MAX_AHEAD
from p2p.base.sampling_params import check_params
from p2p.base.serving_limits import MAX_OUTPUT_TOKENS
from p2p.base.types import SPRINT_ACCOUNT, VERSION, Request, SignedRequest
from p2p.ledger.money.accounts import check_spending, why_not
from p2p.ledger.money.price import price_of
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import live_spec

MAX_CONTEXTS = 8  # a client that cannot count tokens may allow so many contexts; a finish record is held to one


def escrow_of(request: Request, price_micro: int) -> int:
    """Micro-credits held for a request: the most that it can cost."""
    return (request.prompt_tokens_max + request.max_tokens) * price_micro


def check_request(
    ctx: Context, signed: SignedRequest, *, drawn_at: int | None = None, reserved_micro: int = 0,
    signer_reserved_micro: int = 0,
) -> ModelSpec:
    """The spec of the request's model, when `signed` may start in this block. Raises InvalidRequest naming the field.

    drawn_at: height of its draw, at which the model must have been in use; now when left out. reserved_micro: escrow
    of requests that this peer took and that are not on chain yet; signer_reserved_micro: the part of it that the same
    signer signed for.
    """
    request = signed.request
    if request.version != VERSION:
        raise InvalidRequest(unsupported_version("protocol", request.version, VERSION), field="version")
    if request.network != ctx.genesis.network:
        raise InvalidRequest(f"this is network {ctx.genesis.network}", field="network")
    if request.account == SPRINT_ACCOUNT:
        raise InvalidRequest("this account is the sprint's; use your own", field="account")
    if not signed.is_signed():
        raise InvalidRequest("not signed by the signer's key", field="signature")
    spec = live_spec(ctx.view, request.model, drawn_at)
    check_params(request.params)
    price_micro = price_of(ctx.view, spec)
    _check_size(request, spec)
    if request.max_price_micro < price_micro:
        raise InvalidRequest(f"a token costs {price_micro} micro-credits now", field="max_price_micro")
    _check_deadline(ctx, request)
    _check_account(ctx, request, escrow_of(request, price_micro), reserved_micro, signer_reserved_micro)
    return spec


def _check_size(request: Request, spec: ModelSpec) -> None:
    most = min(MAX_OUTPUT_TOKENS, spec.context_tokens - 1)  # a prompt has at least one token
    if not 1 <= request.max_tokens <= most:
        raise InvalidRequest(f"from 1 to {most} output tokens can be asked for", field="max_tokens")
    if not 1 <= request.prompt_tokens_max <= spec.context_tokens * MAX_CONTEXTS:
        allowed = f"from 1 to {spec.context_tokens * MAX_CONTEXTS} prompt tokens can be allowed"
        raise InvalidRequest(allowed, field="prompt_tokens_max")


def _check_deadline(ctx: Context, request: Request) -> None:
    if request.deadline_height <= ctx.height:
        raise InvalidRequest(f"the deadline is past; height is {ctx.height - 1}", field="deadline_height")
    if request.deadline_height >= ctx.height + DEADLINE_MAX_AHEAD:
        latest = ctx.height + DEADLINE_MAX_AHEAD - 1
        raise InvalidRequest(f"the deadline can be at height {latest} at the latest", field="deadline_height")


def _check_account(
    ctx: Context, request: Request, escrow: int, reserved_micro: int, signer_reserved_micro: int
) -> None:
    account = ctx.view.account(request.account)
    if not account.nonce_is_free(request.client_nonce):
        raise InvalidRequest(why_not(account, request.client_nonce), field="client_nonce")
    check_spending(
        ctx, request, escrow, reserved_micro=reserved_micro, signer_reserved_micro=signer_reserved_micro,
    )
    if account.balance_micro < escrow + reserved_micro:
        has = f"the account has {account.balance_micro - reserved_micro}"
        raise InvalidRequest(f"{escrow} micro-credits are held for this request, {has}", field="balance")
