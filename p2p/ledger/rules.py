"""What a request must satisfy. Law: each rule names its field; agent, executor and chain ask the same function."""

from __future__ import annotations

from collections.abc import Iterable

from p2p.errors import InvalidRequest
from p2p.genesis import Genesis, ModelSpec
from p2p.inference.draw import Lots
from p2p.ledger import parameters
from p2p.ledger.accounts import check_spending, why_not
from p2p.ledger.models import live_spec, model_spec
from p2p.ledger.price import price_of
from p2p.ledger.records import Participant
from p2p.ledger.view import View
from p2p.limits import DEADLINE_MAX_AHEAD, MAX_OUTPUT_TOKENS
from p2p.params import check_params
from p2p.types import SPRINT_ACCOUNT, VERSION, Request, SignedRequest


def serving(view: View, genesis: Genesis, model: str) -> list[tuple[bytes, int]]:
    """(node, counted weight) of those that serve `model` now, by key: they work for its price and are neither suspended nor barred. Draws are
    made from what this said at the end of a block (serving.py). Checking costs more than it is paid, so who does not check serves nobody
    (decision 019)."""
    spec = model_spec(view, model)
    price_micro = price_of(view, spec) if spec else -1
    return counted(view, genesis, [p for p in able(view, genesis, model) if p.price_floor_micro <= price_micro])


def able(view: View, genesis: Genesis, model: str) -> list[Participant]:
    """Those that would serve `model` at their price."""
    return [p for p in _working(view, genesis, view.participants(), model) if not p.suspended_until and not p.barred_until]


def checking(view: View, genesis: Genesis, model: str) -> list[tuple[bytes, int]]:
    """(node, counted weight) of those who may be drawn to check `model`: they have it and are not barred."""
    return counted(view, genesis, [p for p in _working(view, genesis, view.participants(), model) if not p.barred_until])


def checking_lots(view: View, genesis: Genesis, model: str) -> Lots:
    return view.once(f"checking {model}", lambda: Lots(checking(view, genesis, model)))


def checking_lots_on(view: View, genesis: Genesis, model: str, stack: str) -> Lots:
    """Those of them that have reputation with this model on this stack: they are known to have its kernels, for a name alone says nothing."""
    def known() -> Lots:
        lots = checking_lots(view, genesis, model).pairs()
        parts = {node: view.participant(node) for node, _ in lots}
        return Lots(
            (node, weight) for node, weight in lots
            if (part := parts[node]) is not None and any((row.model, row.stack) == (model, stack) for row in part.reputations)
        )

    return view.once(f"checking {model} on {stack}", known)


def _working(view: View, genesis: Genesis, everybody: Iterable[Participant], model: str) -> list[Participant]:
    """They have the model, weight and collateral, are not convicted and not leaving."""
    least = parameters.economy(view, genesis).collateral_min_micro
    return [
        p for p in everybody
        if model in p.models and p.weight > 0 and not p.convicted_until and not p.leaving and p.collateral_micro >= least
    ]


def counted(view: View, genesis: Genesis, some: Iterable[Participant]) -> list[tuple[bytes, int]]:
    """(node, counted weight) of `some` of the participants, by key."""
    weights = counted_weights(view, genesis)
    return sorted((p.node, weights[p.node]) for p in some)


def capped(rows: Iterable[tuple[bytes, bytes, int]], cap_milli: int) -> dict[bytes, int]:
    """node -> counted weight, from (node, owner, weight) of everybody: an owner's nodes share at most cap_milli of the total among them, in
    proportion to their weight. Who has weight keeps at least 1."""
    known = list(rows)
    owners: dict[bytes, int] = {}
    for _, owner, weight in known:
        owners[owner] = owners.get(owner, 0) + weight
    most = sum(owners.values()) * cap_milli // 1000
    return {
        node: weight if owners[owner] <= most else max(weight * most // owners[owner], min(weight, 1)) for node, owner, weight in known
    }


def owner_weights(view: View, genesis: Genesis, everybody: Iterable[Participant]) -> dict[bytes, int]:
    """everybody: view.participants(), read once."""
    return capped(((p.node, p.owner, p.weight) for p in everybody), parameters.economy(view, genesis).owner_cap_milli)


def counted_weights(view: View, genesis: Genesis) -> dict[bytes, int]:
    """node -> what it counts for, its owner's other nodes considered; of all participants."""
    return view.once("weights", lambda: owner_weights(view, genesis, view.participants()))


def nodes_by_owner(view: View) -> dict[bytes, list[bytes]]:
    """Of all participants."""
    def make() -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for participant in view.participants():
            found.setdefault(participant.owner, []).append(participant.node)
        return found

    return view.once("owners", make)


def owner_weight(view: View, genesis: Genesis, node: bytes) -> int:
    """What `node` counts for, its owner's other nodes considered; 0 for no participant."""
    return counted_weights(view, genesis).get(view.node_now(node), 0)


def voting_weights(view: View, genesis: Genesis, nodes: Iterable[bytes]) -> dict[bytes, int]:
    """What a verdict of each weighs: its counted weight, nothing while it is barred or convicted."""
    counted = counted_weights(view, genesis)
    good = {p.node for p in view.participants() if not p.barred_until and not p.convicted_until}
    return {node: counted[now] if (now := view.node_now(node)) in good else 0 for node in nodes}


def epoch_of(genesis: Genesis, height: int) -> int:
    """Heights 1..E are epoch 0."""
    return max(height - 1, 0) // genesis.epoch_blocks


def next_end(genesis: Genesis, height: int) -> int:
    """The last height of the epoch after that of `height`."""
    return (epoch_of(genesis, height) + 2) * genesis.epoch_blocks


def escrow_of(request: Request, price_micro: int) -> int:
    return (request.prompt_tokens_max + request.max_tokens) * price_micro


def check_request(
    view: View, genesis: Genesis, signed: SignedRequest, height: int, *, drawn_at: int | None = None, reserved_micro: int = 0,
    signer_reserved_micro: int = 0,
) -> ModelSpec:
    """The model's spec when `signed` may start after `height`; else InvalidRequest naming the field.

    drawn_at: the height of its draw, at which the model must have been in use; now when left out.
    reserved_micro: escrow of requests this peer took that the chain does not hold yet; signer_reserved_micro: of these by the same signer.
    """
    request = signed.request
    if request.version != VERSION:
        raise InvalidRequest(f"version {request.version} is not spoken here; use {VERSION}", field="version")
    if request.network != genesis.network:
        raise InvalidRequest(f"this is network {genesis.network}", field="network")
    if request.account == SPRINT_ACCOUNT:
        raise InvalidRequest("this account asks the sprint's questions only; name your own", field="account")
    if not signed.is_signed():
        raise InvalidRequest("not signed by the signer's key", field="signature")
    spec = live_spec(view, request.model, drawn_at)
    check_params(request.params)
    most = min(MAX_OUTPUT_TOKENS, spec.context_tokens - 1)  # a prompt has a token
    if not 1 <= request.max_tokens <= most:
        raise InvalidRequest(f"from 1 to {most} tokens can be asked for", field="max_tokens")
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
        raise InvalidRequest(why_not(account, request.client_nonce), field="client_nonce")
    escrow = escrow_of(request, price_micro)
    check_spending(
        view, height + 1, epoch_of(genesis, height + 1), request, escrow, reserved_micro=reserved_micro,
        signer_reserved_micro=signer_reserved_micro,
    )
    if account.balance_micro < escrow + reserved_micro:
        raise InvalidRequest(
            f"{escrow} micro-credits are held for this request, the account has {account.balance_micro - reserved_micro}",
            field="balance",
        )
    return spec
