"""The appeal against a lost dispute, possible once. Law: while a decision can be appealed nothing of it takes effect
and no money moves.

The bond waits in `due` and leaves it whole: back to the account that paid it, or burnt when validators that were not
asked before confirm the decision. The appeal's committee is drawn from the beacon `validation_delay` heights after the
appeal, so nobody can choose a height that draws its friends. Earlier verdicts keep the weight with which the vote was
lost, so only new verdicts can turn it (decision 020).
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
from p2p.ledger.state.committee import AppealSeen, Committee
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.open_disputes import close_dispute, open_dispute
from p2p.ledger.state.view import View


def barred_from(view: View, entry: InferenceEntry, *, asked: bool) -> frozenset[bytes]:
    """Nodes that may not check it: all of its executor's owner. asked: and all that were asked before."""
    owner = view.owner_of(entry.executor) or b""
    found = frozenset((entry.executor, *nodes_by_owner(view).get(owner, ())))
    return found | {view.node_now(member) for member in entry.inference.members} if asked else found


def _somebody_is_left(ctx: Context, entry: InferenceEntry) -> bool:
    barred = barred_from(ctx.view, entry, asked=True)
    return any(node not in barred for node, _ in checking(ctx, entry.request.model))


def weights_of(ctx: Context, entry: InferenceEntry) -> dict[bytes, int]:
    """validator -> what its verdict weighs: what it weighed in a vote that was lost, else what its validator weighs
    now.
    """
    inference = entry.inference
    if not inference.appeal_until:
        return voting_weights(ctx, [verdict.validator for verdict in inference.revealed])
    kept = {verdict.validator: verdict.weight for verdict in inference.revealed}
    return kept | voting_weights(ctx, [verdict.validator for verdict in inference.verdicts_on_appeal])


def wait(ctx: Context, entry: InferenceEntry, weights: Mapping[bytes, int], reason: str) -> bool:
    """Keep a lost dispute open for an appeal, with the weights of its vote.

    False where it cannot be appealed: it waited before, the rules have no appeal, or every validator was asked already.
    """
    window = ctx.checks.appeal_window
    if entry.inference.appeal_until or not window or not _somebody_is_left(ctx, entry):
        return False
    until = ctx.height + window
    ctx.save(entry.changed(
        status=Status.APPEALABLE.value, reason=reason, appeal_until=until,
        committees=tuple(_weighed(committee, weights) for committee in entry.inference.committees),
    ))
    open_dispute(ctx.view, entry.executor, entry.id)
    ctx.view.add_due(until, entry.id)
    return True


def _weighed(committee: Committee, weights: Mapping[bytes, int]) -> Committee:
    verdicts = (replace(verdict, weight=weights[verdict.validator]) for verdict in committee.verdicts)
    return replace(committee, verdicts=tuple(verdicts))


def appeal(ctx: Context, account: bytes, body: Appeal) -> None:
    """Carry out an APPEAL of the executor's owner.

    Raises InvalidRequest(field='inference_id', 'account' or 'amount_micro').
    """
    entry = ctx.entry(body.inference_id)
    if entry is None or entry.inference.finish is None:
        raise InvalidRequest("the chain has no finished inference of this id", field="inference_id")
    inference = entry.inference
    if ctx.view.owner_of(entry.executor) != account:
        raise InvalidRequest("only the owner of the answer's executor may appeal", field="account")
    if inference.appeal is not None:
        before = f"it was appealed at height {inference.appeal.height}; an answer can be appealed once"
        raise InvalidRequest(before, field="inference_id")
    if inference.status != Status.APPEALABLE.value:
        ended = inference.end_height
        why = f"it ended at height {ended}" if ended else "no dispute about it is lost"
        raise InvalidRequest(f"it cannot be appealed: {why}, its status is {inference.status}", field="inference_id")
    if not _somebody_is_left(ctx, entry):
        nobody = "every validator of its model was asked already; there is nobody to appeal to"
        raise InvalidRequest(nobody, field="inference_id")
    bond = ctx.economy.appeal_bond_micro
    debit(ctx.view, account, bond)
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, due_micro=totals.due_micro + bond))
    ctx.save(entry.changed(appeal=AppealSeen(account, ctx.height, bond)))
    ctx.view.add_due(ctx.height + ctx.genesis.validation_delay, entry.id)


def close(ctx: Context, entry: InferenceEntry, *, confirmed: bool) -> InferenceEntry:
    """The dispute is decided for good: close it and move the appeal's bond. Returns the changed entry, unsaved.

    confirmed: validators of the appeal judged, and the answer does not stand: the bond is burnt. Else it is paid back.
    """
    close_dispute(ctx.view, entry.executor, entry.id)
    found = entry.inference.appeal
    if found is None:
        return entry
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, due_micro=totals.due_micro - found.bond_micro))
    if not confirmed:
        credit(ctx.view, found.account, found.bond_micro)
        return entry
    burn(ctx, found.bond_micro)
    return entry.changed(appeal=replace(found, burnt_micro=found.bond_micro))
