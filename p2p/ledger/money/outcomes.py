"""How an inference ends in money. Law: each end moves the whole escrow or the whole due, once; what the client paid or gets back is exact.

Two-sided records: a fee is booked only when the agent says that it streamed what the executor finished (rules M1, M6 of README.md). What is
booked stays in `due` until the epoch's end (epochs.py).
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.conduct import executor_conduct as standing
from p2p.ledger.money import collateral
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.accounts import credit, prove
from p2p.ledger.money.epoch_accounts import NOBODY, keep_ended
from p2p.ledger.money.notices import notify
from p2p.ledger.money.price import used_by
from p2p.ledger.rules.context import Context
from p2p.ledger.state.records import Inference, Notice


def expire(ctx: Context, inference_id: bytes, inference: Inference) -> None:
    """Never finished (M4): the whole escrow back; a miss for the only drawn executor that did not say Busy. Where two or more were silent it was
    the network, or an agent that asked none of them, and nobody's miss; where a Busy names the agent's doing, that agent could have had any."""
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, escrow_micro=totals.escrow_micro - inference.escrow_micro))
    silent = [node for node in inference.candidates if node not in inference.busy]
    missed = silent[0] if len(silent) == 1 and NOBODY not in inference.busy else None
    if missed is not None:
        standing.count_unfinished(ctx, missed, inference.agent)
    _give_back(
        ctx, inference_id, inference, inference.escrow_micro, "not finished by its deadline", Status.EXPIRED, missed or NOBODY
    )


def stand(ctx: Context, inference_id: bytes, inference: Inference, outcome: Status, reason: str) -> None:
    """As far as its check goes it stands, as `outcome`. It is paid when the agent confirms what the executor finished, within
    output_window heights of the finish; until then it waits, FINISHED with that outcome."""
    assert inference.finish is not None
    closes = inference.finish_height + ctx.economy.output_window
    if inference.output_hash is None and ctx.height < closes:
        if not inference.outcome:
            ctx.view.add_due(closes, inference_id)
            ctx.view.put_inference(inference_id, replace(inference, status=Status.FINISHED.value, outcome=outcome.value, reason=reason))
        return
    if disagree(inference) or inference.output_hash is None:
        unconfirmed(ctx, inference_id, inference)
        return
    standing.count_pair(ctx, inference, differ=False)
    finish, request = inference.finish.record, inference.signed_request.request
    if not inference.in_sprint:
        earnings.book(ctx, inference)
    if ctx.view.owner_of(finish.executor) != request.account:  # what one asks of oneself says nothing, for oneself or of demand
        standing.count_booked(ctx.view, inference, checked=outcome is not Status.SETTLED)
        if not inference.in_sprint:
            used_by(ctx, request.model, finish.generated)
            _of_use(ctx, inference)
            rules = ctx.economy
            prove(ctx.view, request.account, inference.due_micro * (rules.burn_share_milli + rules.validator_share_milli) // 1000)
    ctx.view.put_inference(inference_id, replace(
        inference, status=outcome.value, outcome="", due_micro=0, paid_micro=inference.due_micro, end_height=ctx.height, reason=reason,
    ))
    keep_ended(ctx, inference.finish.record.executor, inference_id)


def _of_use(ctx: Context, inference: Inference) -> None:
    """Its agent keeps its place (places.py). An answer that costs less than a place does not count, or many places were held by little."""
    agent = ctx.view.participant(inference.agent)
    least = ctx.economy.registration_fee_micro
    if agent is not None and not agent.weight and agent.active < ctx.height and inference.due_micro >= least:
        ctx.view.put_participant(replace(agent, active=ctx.height))


def disagree(inference: Inference) -> bool:
    """Whether both records are there and say different things."""
    if inference.finish is None or inference.output_hash is None:
        return False
    finish = inference.finish.record
    return (finish.output_hash, finish.output_tokens) != (inference.output_hash, inference.streamed_tokens)


def unconfirmed(ctx: Context, inference_id: bytes, inference: Inference) -> None:
    """The two records differ, or the agent was silent (M6): the client has everything back, neither side is paid and both are marked, for
    nobody can tell which of them it was."""
    said = inference.output_hash is not None
    reason = "agent and executor do not say the same was streamed" if said else "the agent did not say what it streamed"
    standing.count_pair(ctx, inference, differ=True)
    refund(ctx, inference_id, inference, reason, Status.UNCONFIRMED)


def refund(ctx: Context, inference_id: bytes, inference: Inference, reason: str, status: Status) -> None:
    """INVALIDATED (M3), UNCONFIRMED (M6), or EXPIRED where nobody checked (M5): all that was charged returns to the client."""
    assert inference.finish is not None
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, due_micro=totals.due_micro - inference.due_micro))
    _give_back(ctx, inference_id, inference, inference.due_micro, reason, status, inference.finish.record.executor)


def _give_back(
    ctx: Context, inference_id: bytes, inference: Inference, amount: int, reason: str, status: Status, node: bytes
) -> None:
    client = inference.signed_request.request.account
    if not inference.in_sprint:
        credit(ctx.view, client, amount)
        notify(ctx.view, client, Notice(inference_id, status.value, amount, ctx.height))
    ctx.view.put_inference(inference_id, replace(
        inference, status=status.value, outcome="", due_micro=0, refunded_micro=amount, end_height=ctx.height, reason=reason,
    ))
    keep_ended(ctx, node, inference_id)


def penalise(ctx: Context, node: bytes) -> None:
    """Accused falsely (M11): burnt from the collateral."""
    burn(ctx, collateral.take(ctx.view, node, ctx.economy.accuse_penalty_micro))


def burn(ctx: Context, amount: int) -> None:
    """A penalty or a fee that the CALLER has taken from where it was (M11, M15, M19)."""
    if amount == 0:
        return
    totals, epoch = ctx.view.totals(), ctx.epoch
    ctx.view.put_totals(replace(totals, burnt_micro=totals.burnt_micro + amount))
    sums = earnings.sums(ctx.view, epoch)
    earnings.put_sums(ctx.view, epoch, replace(sums, penalties_micro=sums.penalties_micro + amount, burnt_micro=sums.burnt_micro + amount))
