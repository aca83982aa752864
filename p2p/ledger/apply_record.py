"""Apply one record to the state. Law: a record that breaks a rule changes nothing, and the error names the field.

Start, Finish, Output and Busy may come in any order: a record that comes before its inference's Start waits and is
applied with it. The rules: docs/ledger-rules.md, "Life of an inference".
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError
from p2p.base.keys import Domain, verify
from p2p.base.types import (
    AGENT_CAUSED,
    BusyRecord,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Record,
    RecordKind,
    Request,
    SignedBusy,
    SignedFinish,
    StartRecord,
    Status,
)
from p2p.ledger.apply_operation import apply_op
from p2p.ledger.conduct.executor_conduct import count_finish
from p2p.ledger.conduct.stacks import bind_stack
from p2p.ledger.inferences.planted_faults import apply_plant_commit, apply_plant_reveal
from p2p.ledger.inferences.verdicts import apply_commit, apply_verdict
from p2p.ledger.money.accounts import count_spending
from p2p.ledger.money.epoch_accounts import NOBODY
from p2p.ledger.money.price import price_of
from p2p.ledger.money.requests import check_request, escrow_of
from p2p.ledger.participants.serving import DRAW_WINDOW, draw_for
from p2p.ledger.participants.sprint import apply_sprint_commit, apply_sprint_open
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state import keys
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View
from p2p.verification.profile import family

MAX_EARLY = 4  # records that may wait for one inference's Start
_STARTED, _FINISHED = Status.STARTED.value, Status.FINISHED.value


def apply_record(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply one record of `sender`'s batch. Raises FolkmootError; then the state is as before."""
    ctx.view.whole(lambda _: _HANDLERS[record.kind](ctx, sender, record))


# -- Start -------------------------------------------------------------------------------------------------------------


def _start(ctx: Context, sender: bytes, record: Record) -> None:
    start = unpack(StartRecord, record.body)
    signed, request = start.signed_request, start.signed_request.request
    inference_id, drawn_at = signed.inference_id, request.draw_height
    if start.agent != sender:
        raise RemoteProtocolError("an agent starts in its own batch only", field="agent")
    if not request.may_be_started_by(sender):
        raise RemoteProtocolError("the client asked another agent", field="agent")
    if ctx.view.inference(inference_id) is not None:
        raise RemoteProtocolError("this inference was started before", field="inference_id")
    if not ctx.height - DRAW_WINDOW <= request.draw_height < ctx.height:
        allowed = f"from {ctx.height - DRAW_WINDOW} to {ctx.height - 1}"
        raise RemoteProtocolError(f"the draw's height must be {allowed}", field="draw_height")
    agent = ctx.view.participant(sender)
    if agent is not None and agent.suspended_until:
        until = f"until height {agent.suspended_until}"
        raise InvalidRequest(f"this agent is suspended and starts nothing {until}", field="agent")
    draw = draw_for(ctx.view, signed)
    if draw is None:
        raise RemoteProtocolError("the state has no beacon of that height", field="draw_height")
    spec = check_request(ctx, signed, drawn_at=drawn_at)
    beacon, candidates = draw.beacon, draw.executors(signed, sender)
    price_micro = price_of(ctx.view, spec)  # the price of this inference from now on
    escrow = escrow_of(request, price_micro)
    _hold_escrow(ctx, request, escrow)
    ctx.save(InferenceEntry(inference_id, Inference(
        signed, _STARTED, sender, beacon, candidates, price_micro, escrow, ctx.height,
    )))
    ctx.view.add_due(request.deadline_height, inference_id)
    _apply_waiting(ctx, inference_id)


def _hold_escrow(ctx: Context, request: Request, escrow: int) -> None:
    """Move the escrow out of the client's balance, use its nonce, and count the spending. `check_request` allowed it.
    """
    account, totals = ctx.view.account(request.account), ctx.view.totals()
    high, mask = account.with_nonce(request.client_nonce)
    balance = account.balance_micro - escrow
    ctx.view.put_account(request.account, replace(account, balance_micro=balance, nonce_high=high, nonce_mask=mask))
    count_spending(ctx, request, escrow)
    ctx.view.put_totals(replace(totals, escrow_micro=totals.escrow_micro + escrow))


def _apply_waiting(ctx: Context, inference_id: bytes) -> None:
    """Apply the records that came before this Start. A wrong one is dropped: coming early gains its sender nothing."""
    waiting = ctx.view.ids(keys.before_start(inference_id))
    if not waiting:
        return
    for raw in waiting:
        early, child = unpack(Record, raw[keys.ID_BYTES :]), ctx.child()
        try:
            _HANDLERS[early.kind](child, raw[: keys.ID_BYTES], early)
        except FolkmootError:
            continue
        ctx.view.merge(child.view)
    ctx.view.put(keys.before_start(inference_id), None)


def _wait_for_start(ctx: Context, inference_id: bytes, sender: bytes, record: Record) -> None:
    """Keep a record for at most DRAW_WINDOW heights: a Start of a later block could no longer name its draw."""
    name = keys.before_start(inference_id)
    if len(ctx.view.ids(name)) >= MAX_EARLY:
        most = f"{MAX_EARLY} records wait for this inference's Start already"
        raise RemoteProtocolError(most, field="inference_id")
    ctx.view.add_id(name, sender + encode(record))
    ctx.view.add_due(ctx.height + DRAW_WINDOW, keys.DUE_BEFORE_START + inference_id)


# -- Finish ------------------------------------------------------------------------------------------------------------


def _finish(ctx: Context, sender: bytes, record: Record) -> None:
    signed = unpack(SignedFinish, record.body)
    finish = signed.record
    if not verify(finish.executor, Domain.FINISH, ctx.genesis.network, encode(finish), signed.signature):
        raise RemoteProtocolError("not signed by the executor", field="signature")
    entry = ctx.entry(finish.inference_id)
    if entry is None:
        _wait_for_start(ctx, finish.inference_id, sender, record)
        return
    _check_turn(ctx, sender, entry.inference, finish)
    _check_finish(ctx.view, entry.inference, finish)
    bind_stack(ctx.view, finish.executor, entry.request.model, finish.stack)
    cost = (finish.prompt_tokens + finish.generated) * entry.inference.price_micro
    _charge(ctx, entry, cost)
    ctx.save(entry.changed(
        status=_FINISHED, finish=signed, finish_height=ctx.height, due_micro=cost, charged_micro=cost,
    ))
    ctx.view.add_due(ctx.height + ctx.genesis.validation_delay, entry.id)
    count_finish(ctx.view, finish.executor)


def _check_turn(ctx: Context, sender: bytes, inference: Inference, finish: FinishRecord) -> None:
    """Check that this executor may finish now. Without the agent's word only the first candidate that is not busy may.
    """
    if finish.executor not in inference.candidates:
        raise RemoteProtocolError("this executor was not drawn", field="executor")
    by_agent = sender == inference.agent
    if inference.status != _STARTED and not (by_agent and _gives_way(ctx, inference, finish)):
        raise RemoteProtocolError("this inference has a finish, or has ended", field="inference_id")
    asked = next((node for node in inference.candidates if node not in inference.busy), None)
    if not by_agent and finish.executor != asked:
        raise RemoteProtocolError("only the agent can say that this executor's turn came", field="executor")


def _gives_way(ctx: Context, inference: Inference, finish: FinishRecord) -> bool:
    """Whether the finish on chain gives way to this one of a later candidate, which the agent brings.

    After the draw none gives way: once it is known whether an answer is checked, a true one could be put in its place.
    """
    if inference.finish is None or inference.status != _FINISHED or inference.outcome:
        return False
    rank = inference.candidates.index
    is_later = rank(finish.executor) > rank(inference.finish.record.executor)
    return is_later and ctx.height <= inference.finish_height + ctx.genesis.validation_delay


def _check_finish(view: View, inference: Inference, finish: FinishRecord) -> None:
    """Check what needs no model, whether or not the answer is drawn to be checked.

    Otherwise an answer that every check refuses would be paid where nobody looks.
    """
    request, output = inference.signed_request.request, finish.output_tokens
    if not 0 < output <= request.max_tokens:
        raise RemoteProtocolError(f"from 1 to {request.max_tokens} tokens were asked for", field="output_tokens")
    if finish.prompt_tokens > request.prompt_tokens_max:
        raise RemoteProtocolError("more prompt tokens than the client agreed to", field="prompt_tokens")
    spec = spec_at(view, request.model, inference.draw_height)
    reason, whole = finish.finish_reason, output == request.max_tokens
    if (reason is FinishReason.LENGTH and not whole) or (reason is FinishReason.STOPPED and whole):
        raise RemoteProtocolError("the finish reason does not fit the number of tokens", field="finish_reason")
    if finish.taken_over >= output:
        raise RemoteProtocolError("nothing was added to what was taken over", field="taken_over")
    if finish.taken_over and finish.executor == inference.candidates[0]:
        raise RemoteProtocolError("nobody was asked before this executor", field="taken_over")
    if finish.prompt_tokens == 0 or (spec is not None and finish.prompt_tokens + output > spec.context_tokens):
        raise RemoteProtocolError("no prompt, or more tokens than the model's context", field="prompt_tokens")
    if spec is not None and spec.stacks and family(finish.stack) not in spec.stacks:
        raise RemoteProtocolError(f"the model may be served on {', '.join(spec.stacks)} only", field="stack")


def _charge(ctx: Context, entry: InferenceEntry, cost: int) -> None:
    """Turn the escrow, or the charge of a finish that gives way, into the cost; the rest returns to the client."""
    inference, first = entry.inference, entry.inference.status == _STARTED
    held = inference.escrow_micro if first else inference.due_micro
    account, totals = ctx.view.account(entry.client), ctx.view.totals()
    if account.balance_micro + held < cost:
        raise InvalidRequest("the client has spent what the earlier finish gave back", field="balance")
    ctx.view.put_account(entry.client, replace(account, balance_micro=account.balance_micro + held - cost))
    if first:
        totals = replace(totals, escrow_micro=totals.escrow_micro - held, due_micro=totals.due_micro + cost)
        due = entry.request.deadline_height
    else:
        totals = replace(totals, due_micro=totals.due_micro - held + cost)
        due = inference.finish_height + ctx.genesis.validation_delay
    ctx.view.remove_id(keys.due(due), entry.id)
    ctx.view.put_totals(totals)


# -- Output, Busy ------------------------------------------------------------------------------------------------------


def _output(ctx: Context, sender: bytes, record: Record) -> None:
    output = unpack(OutputRecord, record.body)
    if output.agent != sender:
        raise RemoteProtocolError("an agent reports in its own batch only", field="agent")
    entry = ctx.entry(output.inference_id)
    if entry is None:
        _wait_for_start(ctx, output.inference_id, sender, record)
        return
    if entry.inference.agent != sender or entry.inference.output_hash is not None:
        raise RemoteProtocolError("not this inference's agent, or reported before", field="agent")
    if entry.inference.end_height:
        raise InvalidRequest("this inference has ended", field="inference_id")
    ctx.save(entry.changed(
        output_hash=output.output_hash, output_height=ctx.height, streamed_tokens=output.output_tokens,
    ))
    if entry.inference.outcome:  # it waited for this record
        ctx.view.add_due(ctx.height, entry.id)


def _busy(ctx: Context, sender: bytes, record: Record) -> None:
    signed = unpack(SignedBusy, record.body)
    busy: BusyRecord = signed.record
    if not verify(busy.executor, Domain.BUSY, ctx.genesis.network, encode(busy), signed.signature):
        raise RemoteProtocolError("not signed by the executor", field="signature")
    entry = ctx.entry(busy.inference_id)
    if entry is None:
        _wait_for_start(ctx, busy.inference_id, sender, record)
        return
    if busy.executor not in entry.inference.candidates or busy.executor in entry.inference.busy:
        raise RemoteProtocolError("this executor was not drawn, or was busy before", field="executor")
    said = (*entry.inference.busy, busy.executor)
    if busy.reason.startswith(AGENT_CAUSED) and NOBODY not in said:
        said = (*said, NOBODY)  # the agent may have provoked all but one: then that one has no miss (M4)
    ctx.save(entry.changed(busy=said))


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
