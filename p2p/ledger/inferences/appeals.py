"""A lost dispute can be appealed, once. Law: while it can, nothing of it is decided and no money of it moves; the bond waits in `due` and
leaves it whole: back to who paid it, or burnt when validators that were not asked before confirm what was said.

The committee is drawn from the beacon `validation_delay` heights after the order, so nobody can choose the height that draws its friends.
What was said before keeps the weight with which the vote was lost, so nothing but new verdicts can turn it (decision 020).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from p2p.base.errors import InvalidRequest
from p2p.base.types import Status
from p2p.ledger.money.accounts import credit, debit
from p2p.ledger.money.outcomes import burn
from p2p.ledger.participants.eligibility import checking
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import nodes_by_owner, voting_weights
from p2p.ledger.rules.ops import Appeal
from p2p.ledger.state.committee import AppealSeen, Panel
from p2p.ledger.state.open_disputes import close_dispute, open_dispute
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View


def barred_from(view: View, inference: Inference, *, asked: bool) -> frozenset[bytes]:
    """Who may not check it: its executor and the nodes of the same owner; with `asked`, those that were asked before too."""
    assert inference.finish is not None
    node = inference.finish.record.executor
    found = frozenset((node, *nodes_by_owner(view).get(view.owner_of(node) or b"", ())))
    return found | {view.node_now(member) for member in inference.members} if asked else found


def _somebody_is_left(ctx: Context, inference: Inference) -> bool:
    out = barred_from(ctx.view, inference, asked=True)
    return any(node not in out for node, _ in checking(ctx, inference.signed_request.request.model))


def weights_of(ctx: Context, inference: Inference) -> dict[bytes, int]:
    """validator -> what its verdict weighs: that of a vote that was lost keeps what it had then, the others' is their validators' now."""
    kept = {verdict.validator: verdict.weight for verdict in inference.revealed} if inference.appeal_until else {}
    new = inference.verdicts_on_appeal if inference.appeal_until else inference.revealed
    return kept | voting_weights(ctx, [verdict.validator for verdict in new])


def wait(
    ctx: Context, inference_id: bytes, inference: Inference, weights: Mapping[bytes, int], reason: str
) -> bool:
    """The vote went against it: keep it open for an appeal, with the weights it had. False where it cannot be appealed: it waited before,
    the rules know no appeal, or every validator was asked already."""
    assert inference.finish is not None
    window = ctx.checks.appeal_window
    if inference.appeal_until or not window or not _somebody_is_left(ctx, inference):
        return False
    until = ctx.height + window
    ctx.view.put_inference(inference_id, replace(
        inference, status=Status.APPEALABLE.value, reason=reason, appeal_until=until,
        panels=tuple(_weighed(panel, weights) for panel in inference.panels),
    ))
    open_dispute(ctx.view, inference.finish.record.executor, inference_id)
    ctx.view.add_due(until, inference_id)
    return True


def _weighed(panel: Panel, weights: Mapping[bytes, int]) -> Panel:
    return replace(panel, verdicts=tuple(replace(verdict, weight=weights[verdict.validator]) for verdict in panel.verdicts))


def appeal(ctx: Context, account: bytes, body: Appeal) -> None:
    """An order of the executor's owner. Raises InvalidRequest(field='inference_id', 'account' or 'amount_micro')."""
    inference = ctx.view.inference(body.inference_id)
    if inference is None or inference.finish is None:
        raise InvalidRequest("the chain has no such answer", field="inference_id")
    if ctx.view.owner_of(inference.finish.record.executor) != account:
        raise InvalidRequest("only the owner of its executor may appeal", field="account")
    if inference.appeal is not None:
        raise InvalidRequest(f"it was appealed at height {inference.appeal.height}; an answer can be appealed once", field="inference_id")
    if inference.status != Status.APPEALABLE.value:
        when = f"it ended at height {inference.end_height}" if inference.end_height else "no dispute about it is lost"
        raise InvalidRequest(f"it cannot be appealed: {when}, it is {inference.status}", field="inference_id")
    if not _somebody_is_left(ctx, inference):
        raise InvalidRequest("every validator of its model was asked already; there is nobody to appeal to", field="inference_id")
    bond = ctx.economy.appeal_bond_micro
    debit(ctx.view, account, bond)
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, due_micro=totals.due_micro + bond))
    ctx.view.put_inference(body.inference_id, replace(inference, appeal=AppealSeen(account, ctx.height, bond)))
    ctx.view.add_due(ctx.height + ctx.genesis.validation_delay, body.inference_id)


def close(ctx: Context, inference_id: bytes, inference: Inference, *, confirmed: bool) -> Inference:
    """It is decided now. confirmed: validators of the appeal spoke and it does not stand: the bond is burnt; else it goes back to who paid it.
    Returns the inference as it goes on."""
    assert inference.finish is not None
    close_dispute(ctx.view, inference.finish.record.executor, inference_id)
    found = inference.appeal
    if found is None:
        return inference
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, due_micro=totals.due_micro - found.bond_micro))
    if not confirmed:
        credit(ctx.view, found.account, found.bond_micro)
        return inference
    burn(ctx, found.bond_micro)
    return replace(inference, appeal=replace(found, burnt_micro=found.bond_micro))
