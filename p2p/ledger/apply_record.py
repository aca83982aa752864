"""One record against the state. Law: a record that breaks a rule changes nothing and says which field broke it.

Start, Finish and Output may come in any order: what comes before its Start waits (bounded) and is applied with it.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError
from p2p.base.keys import Domain, verify
from p2p.base.limits import MAX_CANDIDATES
from p2p.base.types import (
    AGENT_CAUSED,
    BusyRecord,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Record,
    RecordKind,
    SignedBusy,
    SignedFinish,
    StartRecord,
    Status,
)
from p2p.base.weighted_draw import draw_executors
from p2p.ledger.apply_operation import apply_op
from p2p.ledger.conduct.executor_conduct import count_finish
from p2p.ledger.conduct.stacks import bind_stack
from p2p.ledger.inferences.planted_faults import apply_plant_commit, apply_plant_reveal
from p2p.ledger.inferences.verdicts import apply_commit, apply_verdict
from p2p.ledger.money.accounts import count_spending
from p2p.ledger.money.epoch_accounts import NOBODY
from p2p.ledger.money.price import price_of
from p2p.ledger.money.requests import check_request, escrow_of
from p2p.ledger.participants.serving import DRAW_WINDOW, serving_at
from p2p.ledger.participants.sprint import apply_sprint_commit, apply_sprint_open
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state import keys
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View
from p2p.verification.profile import family

MAX_EARLY = 4  # records that may wait for one inference's Start


def apply_record(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply one record of `sender`'s batch in block `height`. Raises FolkmootError; then `view` is as before."""
    ctx.view.whole(lambda _: _HANDLERS[record.kind](ctx, sender, record))


def _start(ctx: Context, sender: bytes, record: Record) -> None:
    start = unpack(StartRecord, record.body)
    signed, request = start.signed_request, start.signed_request.request
    inference_id = signed.inference_id
    if start.agent != sender:
        raise RemoteProtocolError("an agent starts in its own batch only", field="agent")
    if not request.may_be_started_by(sender):
        raise RemoteProtocolError("the client asked another agent", field="agent")
    if ctx.view.inference(inference_id) is not None:
        raise RemoteProtocolError("this inference was started before", field="inference_id")
    if not ctx.height - DRAW_WINDOW <= request.draw_height < ctx.height:
        raise RemoteProtocolError("the draw's height is too old or not decided", field="draw_height")
    agent = ctx.view.participant(sender)
    if agent is not None and agent.suspended_until:
        raise InvalidRequest(f"this agent starts nothing until height {agent.suspended_until}", field="agent")
    beacon = ctx.view.beacon(request.draw_height)
    if beacon is None:
        raise RemoteProtocolError("no beacon of that height", field="draw_height")
    spec = check_request(ctx, signed, drawn_at=request.draw_height)
    candidates = draw_executors(beacon, inference_id, serving_at(ctx.view, request.model, request.draw_height), sender, MAX_CANDIDATES)
    account = ctx.view.account(request.account)
    price_micro = price_of(ctx.view, spec)  # locked for this inference
    escrow = escrow_of(request, price_micro)
    high, mask = account.with_nonce(request.client_nonce)
    ctx.view.put_account(
        request.account, replace(account, balance_micro=account.balance_micro - escrow, nonce_high=high, nonce_mask=mask)
    )
    count_spending(ctx, request, escrow)
    totals = ctx.view.totals()
    ctx.view.put_totals(replace(totals, escrow_micro=totals.escrow_micro + escrow))
    ctx.view.put_inference(inference_id, Inference(
        signed, Status.STARTED.value, sender, beacon, candidates, price_micro, escrow, ctx.height
    ))
    ctx.view.add_due(request.deadline_height, inference_id)
    _apply_early(ctx, inference_id)


def _apply_early(ctx: Context, inference_id: bytes) -> None:
    early_ones = ctx.view.ids(keys.early(inference_id))
    if not early_ones:
        return
    for raw in early_ones:
        early, child = unpack(Record, raw[32:]), ctx.child()
        try:
            _HANDLERS[early.kind](child, raw[:32], early)
        except FolkmootError:
            continue  # it was wrong all along; its sender gains nothing by having been early
        ctx.view.merge(child.view)
    ctx.view.put(keys.early(inference_id), None)


def _wait_for_start(ctx: Context, inference_id: bytes, sender: bytes, record: Record) -> None:
    name = keys.early(inference_id)
    if len(ctx.view.ids(name)) >= MAX_EARLY:
        raise RemoteProtocolError("too many records wait for this inference's start", field="inference_id")
    ctx.view.add_id(name, sender + encode(record))
    ctx.view.add_due(ctx.height + DRAW_WINDOW, keys.DUE_EARLY + inference_id)


def _finish(ctx: Context, sender: bytes, record: Record) -> None:
    signed = unpack(SignedFinish, record.body)
    finish = signed.record
    if not verify(finish.executor, Domain.FINISH, ctx.genesis.network, encode(finish), signed.signature):
        raise RemoteProtocolError("not signed by the executor", field="signature")
    inference = ctx.view.inference(finish.inference_id)
    if inference is None:
        _wait_for_start(ctx, finish.inference_id, sender, record)
        return
    request = inference.signed_request.request
    if finish.executor not in inference.candidates:
        raise RemoteProtocolError("this executor was not drawn", field="executor")
    by_agent = sender == inference.agent
    if inference.status != Status.STARTED.value and not (by_agent and _gives_way(ctx, inference, finish)):
        raise RemoteProtocolError("this inference is past its finish", field="inference_id")
    asked = next((node for node in inference.candidates if node not in inference.busy), None)
    if not by_agent and finish.executor != asked:
        raise RemoteProtocolError("only the agent can say that this executor's turn came", field="executor")
    if finish.output_tokens > request.max_tokens or finish.output_tokens == 0:
        raise RemoteProtocolError("more tokens than asked for, or none", field="output_tokens")
    if finish.prompt_tokens > request.prompt_tokens_max:
        raise RemoteProtocolError("more prompt tokens than the client agreed to", field="prompt_tokens")
    _check_finish(ctx.view, inference, finish)
    bind_stack(ctx.view, finish.executor, request.model, finish.stack)
    cost = (finish.prompt_tokens + finish.generated) * inference.price_micro
    held = inference.escrow_micro if inference.status == Status.STARTED.value else inference.due_micro
    account, totals = ctx.view.account(request.account), ctx.view.totals()
    if account.balance_micro + held < cost:
        raise InvalidRequest("the client has spent what the earlier finish gave back", field="balance")
    ctx.view.put_account(request.account, replace(account, balance_micro=account.balance_micro + held - cost))
    if inference.status == Status.STARTED.value:
        totals = replace(totals, escrow_micro=totals.escrow_micro - held, due_micro=totals.due_micro + cost)
        ctx.view.remove_id(keys.due(request.deadline_height), finish.inference_id)
    else:
        totals = replace(totals, due_micro=totals.due_micro - held + cost)
        ctx.view.remove_id(keys.due(inference.finish_height + ctx.genesis.validation_delay), finish.inference_id)
    ctx.view.put_totals(totals)
    ctx.view.put_inference(finish.inference_id, replace(
        inference, status=Status.FINISHED.value, finish=signed, finish_height=ctx.height, due_micro=cost, charged_micro=cost,
    ))
    ctx.view.add_due(ctx.height + ctx.genesis.validation_delay, finish.inference_id)
    count_finish(ctx.view, finish.executor)


def _gives_way(ctx: Context, inference: Inference, finish: FinishRecord) -> bool:
    """Whether the finish on chain gives way to this one, which the agent brings: nothing was drawn from it, and its executor was
    drawn before this one. After the draw none gives way: who knows whether an answer is checked could put a true one in its place.
    """
    if inference.finish is None or inference.status != Status.FINISHED.value or inference.outcome:
        return False
    rank = inference.candidates.index
    is_later = rank(finish.executor) > rank(inference.finish.record.executor)
    return is_later and ctx.height <= inference.finish_height + ctx.genesis.validation_delay


def _check_finish(view: View, inference: Inference, finish: FinishRecord) -> None:
    """What needs no model, of each answer, drawn to be checked or not: an answer that every check refuses is not paid for where none looks."""
    request = inference.signed_request.request
    spec = spec_at(view, request.model, inference.draw_height)
    whole = finish.output_tokens == request.max_tokens
    if (finish.finish_reason is FinishReason.LENGTH and not whole) or (finish.finish_reason is FinishReason.STOPPED and whole):
        raise RemoteProtocolError("finish reason and number of tokens do not go together", field="finish_reason")
    if finish.taken_over >= finish.output_tokens:
        raise RemoteProtocolError("nothing was added to what was taken over", field="taken_over")
    if finish.taken_over and finish.executor == inference.candidates[0]:
        raise RemoteProtocolError("nobody was asked before this executor", field="taken_over")
    if finish.prompt_tokens == 0 or (spec is not None and finish.prompt_tokens + finish.output_tokens > spec.context_tokens):
        raise RemoteProtocolError("no prompt, or more tokens than the model's context", field="prompt_tokens")
    if spec is not None and spec.stacks and family(finish.stack) not in spec.stacks:
        raise RemoteProtocolError("the model may not be served on this stack", field="stack")


def _output(ctx: Context, sender: bytes, record: Record) -> None:
    output = unpack(OutputRecord, record.body)
    if output.agent != sender:
        raise RemoteProtocolError("an agent reports in its own batch only", field="agent")
    inference = ctx.view.inference(output.inference_id)
    if inference is None:
        _wait_for_start(ctx, output.inference_id, sender, record)
        return
    if inference.agent != sender or inference.output_hash is not None:
        raise RemoteProtocolError("not this inference's agent, or said before", field="agent")
    if inference.end_height:
        raise InvalidRequest("this inference has ended", field="inference_id")
    ctx.view.put_inference(output.inference_id, replace(
        inference, output_hash=output.output_hash, output_height=ctx.height, streamed_tokens=output.output_tokens,
    ))
    if inference.outcome:  # it waited for this
        ctx.view.add_due(ctx.height, output.inference_id)


def _busy(ctx: Context, sender: bytes, record: Record) -> None:
    signed = unpack(SignedBusy, record.body)
    busy: BusyRecord = signed.record
    if not verify(busy.executor, Domain.BUSY, ctx.genesis.network, encode(busy), signed.signature):
        raise RemoteProtocolError("not signed by the executor", field="signature")
    inference = ctx.view.inference(busy.inference_id)
    if inference is None:
        _wait_for_start(ctx, busy.inference_id, sender, record)
        return
    if busy.executor not in inference.candidates or busy.executor in inference.busy:
        raise RemoteProtocolError("not drawn, or said before", field="executor")
    said = (*inference.busy, busy.executor)
    if busy.reason.startswith(AGENT_CAUSED) and NOBODY not in said:
        said = (*said, NOBODY)  # whoever is silent may be the one that the agent did not provoke: M4 finds nobody
    ctx.view.put_inference(busy.inference_id, replace(inference, busy=said))


_HANDLERS: dict[RecordKind, Callable[[Context, bytes, Record], None]] = {
    RecordKind.START: _start,
    RecordKind.FINISH: _finish,
    RecordKind.OUTPUT: _output,
    RecordKind.BUSY: _busy,
    RecordKind.VERDICT_COMMIT: apply_commit,
    RecordKind.VERDICT: apply_verdict,
    RecordKind.PLANT_COMMIT: apply_plant_commit,
    RecordKind.PLANT_REVEAL: apply_plant_reveal,
    RecordKind.OP: apply_op,
    RecordKind.SPRINT_COMMIT: apply_sprint_commit,
    RecordKind.SPRINT_OPEN: apply_sprint_open,
}
