"""What happens at a height by itself: deadlines, committees, last calls. Law: only ids indexed for this height are touched."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.keys import digest
from p2p.ledger.records import Inference
from p2p.ledger.rules import serving
from p2p.ledger.view import View
from p2p.types import Genesis, Status
from p2p.verification.duty import check_probability_milli, draw_validators

_EARLY = b"early:"
BEACONS_KEPT = 256  # a draw names one of at most DRAW_WINDOW heights ago
MAX_DRAWS = 2  # committees drawn for one inference before silence settles it (decision 005)


def end_of_block(view: View, genesis: Genesis, height: int, beacon: bytes) -> None:
    """After the records of block `height`: keep its beacon, act on what is due."""
    view.put(b"beacon/" + height.to_bytes(8, "big"), beacon)
    if height > BEACONS_KEPT:
        view.put(b"beacon/" + (height - BEACONS_KEPT).to_bytes(8, "big"), None)
    name = b"due/" + height.to_bytes(8, "big")
    for due in view.ids(name):
        if due.startswith(_EARLY) and len(due) == 32 + len(_EARLY):
            view.put(b"early/" + due[len(_EARLY) :], None)
            continue
        inference = view.inference(due)
        if inference is None:
            continue
        if inference.status == Status.STARTED.value:
            _expire(view, height, due, inference)
        elif inference.status == Status.FINISHED.value:
            _draw(view, genesis, height, due, inference, beacon)
        elif inference.status == Status.VALIDATING.value:
            decide(view, genesis, height, due, last_call=True)
    view.put(name, None)


def _expire(view: View, height: int, inference_id: bytes, inference: Inference) -> None:
    """Never finished: the whole escrow back; a miss for the first drawn executor that did not say Busy."""
    request = inference.signed_request.request
    account, totals = view.account(request.account), view.totals()
    view.put_account(request.account, replace(account, balance_micro=account.balance_micro + inference.escrow_micro))
    view.put_totals(replace(totals, escrow_micro=totals.escrow_micro - inference.escrow_micro))
    missed = next((node for node in inference.candidates if node not in inference.busy), None)
    participant = view.participant(missed) if missed else None
    if participant is not None:
        view.put_participant(replace(participant, misses=participant.misses + 1))
    view.put_inference(inference_id, replace(
        inference, status=Status.EXPIRED.value, refunded_micro=inference.escrow_micro, end_height=height,
        reason="not finished by its deadline",
    ))


def _draw(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, beacon: bytes) -> None:
    """The committee, from a beacon the executor could not know when its root went on chain."""
    assert inference.finish is not None
    executor = view.participant(inference.finish.record.executor)
    owner = executor.owner if executor else b""
    exclude = frozenset(p.node for p in view.participants() if p.owner == owner) | {inference.finish.record.executor}
    candidates = serving(view, inference.signed_request.request.model)
    committee = draw_validators(beacon, inference_id, candidates, exclude, genesis.committee)
    sampled = int.from_bytes(digest(b"sample", beacon, inference_id)[:8], "big") % 1000
    unchecked = sampled >= check_probability_milli(executor.reputation if executor else 0)
    if unchecked or not committee:
        pay(view, height, inference_id, inference, "not sampled" if unchecked else "nobody else can check this model")
        return
    view.put_inference(inference_id, replace(
        inference, status=Status.VALIDATING.value, committee=committee, committee_height=height, draws=inference.draws + 1,
    ))
    for node in committee:
        view.add_id(b"duty/" + node, inference_id)
    view.add_id(b"due/" + (height + genesis.validation_window).to_bytes(8, "big"), inference_id)


def decide(view: View, genesis: Genesis, height: int, inference_id: bytes, *, last_call: bool) -> None:
    """Weighted vote of the committee: more than half of its weight decides; at the last call, the majority of what came."""
    inference = view.inference(inference_id)
    assert inference is not None
    weights = {node: (p.weight if (p := view.participant(node)) else 0) for node in inference.committee}
    valid = sum(weights[v.validator] for v in inference.verdicts if v.valid)
    invalid = sum(weights[v.validator] for v in inference.verdicts if not v.valid)
    total = sum(weights.values()) if not last_call else valid + invalid
    if last_call and not inference.verdicts:
        _unchecked(view, genesis, height, inference_id, inference)
    elif invalid * 2 > total or (last_call and invalid * 2 == total):
        refund(view, height, inference_id, inference, next(v.reason for v in inference.verdicts if not v.valid))
    elif valid * 2 > total:
        pay(view, height, inference_id, inference, "")


def _unchecked(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """Nobody answered: one fresh committee from this height's beacon, then the due returns to the client (decision 005)."""
    _close_duties(view, inference_id, inference)
    if inference.draws < MAX_DRAWS:
        beacon = view.beacon(height)
        assert beacon is not None
        _draw(view, genesis, height, inference_id, inference, beacon)
        return
    refund(view, height, inference_id, inference, "no validator answered", status=Status.EXPIRED, blame=False)


def pay(view: View, height: int, inference_id: bytes, inference: Inference, reason: str) -> None:
    """VALIDATED: the due goes to the executor's owner."""
    assert inference.finish is not None
    executor = view.participant(inference.finish.record.executor)
    assert executor is not None
    account, totals = view.account(executor.owner), view.totals()
    view.put_account(executor.owner, replace(account, balance_micro=account.balance_micro + inference.due_micro))
    view.put_totals(replace(totals, due_micro=totals.due_micro - inference.due_micro))
    view.put_inference(inference_id, replace(
        inference, status=Status.VALIDATED.value, due_micro=0, paid_micro=inference.due_micro, end_height=height, reason=reason,
    ))
    _close_duties(view, inference_id, inference)


def refund(
    view: View, height: int, inference_id: bytes, inference: Inference, reason: str, *,
    status: Status = Status.INVALIDATED, blame: bool = True,
) -> None:
    """INVALIDATED: all that was charged returns to the client; the executor loses its reputation."""
    assert inference.finish is not None
    client = inference.signed_request.request.account
    account, totals = view.account(client), view.totals()
    view.put_account(client, replace(account, balance_micro=account.balance_micro + inference.due_micro))
    view.put_totals(replace(totals, due_micro=totals.due_micro - inference.due_micro))
    executor = view.participant(inference.finish.record.executor)
    if blame and executor is not None:
        view.put_participant(replace(executor, reputation=0, strikes=executor.strikes + 1))
    view.put_inference(inference_id, replace(
        inference, status=status.value, due_micro=0, refunded_micro=inference.due_micro, end_height=height, reason=reason,
    ))
    _close_duties(view, inference_id, inference)


def _close_duties(view: View, inference_id: bytes, inference: Inference) -> None:
    for node in inference.committee:
        view.remove_id(b"duty/" + node, inference_id)
