"""How an inference ends in money. Law: each end moves the whole escrow or the whole charge, once, and what the client
pays or gets back is exact.

The records are two-sided: a fee is booked only when the agent says it streamed what the executor finished (M1, M6 in
docs/ledger-rules.md). A booked fee stays in `due` until the epoch's end (epoch_settlement.py).
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.conduct import executor_conduct
from p2p.ledger.money import collateral, epoch_accounts
from p2p.ledger.money.accounts import credit, prove
from p2p.ledger.money.epoch_accounts import NOBODY, keep_ended
from p2p.ledger.money.notices import notify
from p2p.ledger.money.price import used_by
from p2p.ledger.rules.context import Context
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.records import Inference, Notice


def expire(ctx: Context, entry: InferenceEntry) -> None:
    """M4: not finished by its deadline. The whole escrow returns, and one silent executor has a miss.

    Only the one candidate that did not say Busy can have missed it. Where two or more were silent it was the network,
    or an agent that asked none of them; where a Busy names the agent's doing, the agent could have had any answer.
    """
    inference, totals = entry.inference, ctx.view.totals()
    ctx.view.put_totals(replace(totals, escrow_micro=totals.escrow_micro - inference.escrow_micro))
    silent = [node for node in inference.candidates if node not in inference.busy]
    missed = silent[0] if len(silent) == 1 and NOBODY not in inference.busy else None
    if missed is not None:
        executor_conduct.count_unfinished(ctx, missed, inference.agent)
    _give_back(ctx, entry, inference.escrow_micro, "not finished by its deadline", Status.EXPIRED, missed or NOBODY)


def stand(ctx: Context, entry: InferenceEntry, outcome: Status, reason: str) -> None:
    """The answer stands, as `outcome`: it is paid once the agent confirms what the executor finished.

    Until the agent's record is there the inference waits, FINISHED with that outcome, for at most `output_window`
    heights after the finish; then it is UNCONFIRMED.
    """
    inference = entry.inference
    closes = inference.finish_height + ctx.economy.output_window
    if inference.output_hash is None and ctx.height < closes:
        if not inference.outcome:
            ctx.view.add_due(closes, entry.id)
            ctx.save(entry.changed(status=Status.FINISHED.value, outcome=outcome.value, reason=reason))
        return
    if disagree(inference) or inference.output_hash is None:
        unconfirmed(ctx, entry)
        return
    executor_conduct.count_pair(ctx, inference, differ=False)
    if not inference.in_sprint:
        epoch_accounts.book(ctx, inference)
    if ctx.view.owner_of(entry.executor) != entry.client:  # an owner's requests to its own node prove nothing
        executor_conduct.count_booked(ctx.view, inference, checked=outcome is not Status.SETTLED)
        if not inference.in_sprint:
            used_by(ctx, entry.request.model, entry.finish.generated)
            _of_use(ctx, inference)
            rules = ctx.economy
            share = rules.burn_share_milli + rules.validator_share_milli
            prove(ctx.view, entry.client, inference.due_micro * share // 1000)
    ctx.save(entry.changed(
        status=outcome.value, outcome="", due_micro=0, paid_micro=inference.due_micro, end_height=ctx.height,
        reason=reason,
    ))
    keep_ended(ctx, entry.executor, entry.id)


def _of_use(ctx: Context, inference: Inference) -> None:
    """A booked answer keeps its agent's place (participants/places.py).

    An answer that costs less than a place does not count; otherwise many places could be held for little money.
    """
    agent = ctx.view.participant(inference.agent)
    least = ctx.economy.registration_fee_micro
    if agent is not None and not agent.weight and agent.active < ctx.height and inference.due_micro >= least:
        ctx.view.put_participant(replace(agent, active=ctx.height))


def disagree(inference: Inference) -> bool:
    """Whether the executor's and the agent's record are both there and say different things."""
    if inference.finish is None or inference.output_hash is None:
        return False
    finish = inference.finish.record
    return (finish.output_hash, finish.output_tokens) != (inference.output_hash, inference.streamed_tokens)


def unconfirmed(ctx: Context, entry: InferenceEntry) -> None:
    """M6: the two records differ, or the agent sent none. All returns to the client, and both sides have a mark.

    Nobody can tell which side is at fault, so neither is paid.
    """
    said = entry.inference.output_hash is not None
    differ, silent = "agent and executor do not say the same was streamed", "the agent did not say what it streamed"
    executor_conduct.count_pair(ctx, entry.inference, differ=True)
    refund(ctx, entry, differ if said else silent, Status.UNCONFIRMED)  # the reason is state


def refund(ctx: Context, entry: InferenceEntry, reason: str, status: Status) -> None:
    """End a finished inference with its whole charge back to the client.

    status: INVALIDATED (M3), UNCONFIRMED (M6), WITHHELD (M18), or EXPIRED where nobody judged it (M5).
    """
    due, totals = entry.inference.due_micro, ctx.view.totals()
    ctx.view.put_totals(replace(totals, due_micro=totals.due_micro - due))
    _give_back(ctx, entry, due, reason, status, entry.executor)


def _give_back(
    ctx: Context, entry: InferenceEntry, amount: int, reason: str, status: Status, node: bytes
) -> None:
    """node: whose inference it was, for the epoch's index."""
    if not entry.inference.in_sprint:
        credit(ctx.view, entry.client, amount)
        notify(ctx.view, entry.client, Notice(entry.id, status.value, amount, ctx.height))
    ctx.save(entry.changed(
        status=status.value, outcome="", due_micro=0, refunded_micro=amount, end_height=ctx.height, reason=reason,
    ))
    keep_ended(ctx, node, entry.id)


def penalise(ctx: Context, node: bytes) -> None:
    """M11: `node` accused falsely; the penalty is burnt from its collateral, as far as there is any."""
    burn(ctx, collateral.take(ctx.view, node, ctx.economy.accuse_penalty_micro))


def burn(ctx: Context, amount: int) -> None:
    """Burn a penalty or fee that the CALLER has taken from where it was (M11, M15, M19)."""
    if amount == 0:
        return
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, burnt_micro=totals.burnt_micro + amount))
    sums = epoch_accounts.sums(ctx.view, ctx.epoch)
    epoch_accounts.put_sums(ctx.view, ctx.epoch, replace(
        sums, penalties_micro=sums.penalties_micro + amount, burnt_micro=sums.burnt_micro + amount,
    ))
