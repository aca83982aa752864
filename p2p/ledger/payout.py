"""How an inference ends in money. Law: each end moves the whole escrow or the whole due, once; what the client paid or gets back is exact."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.ledger.records import Inference
from p2p.ledger.view import View
from p2p.types import Status


def expire(view: View, height: int, inference_id: bytes, inference: Inference) -> None:
    """Never finished: the whole escrow back; a miss for the first drawn executor that did not say Busy."""
    _credit(view, inference.signed_request.request.account, inference.escrow_micro)
    totals = view.totals()
    view.put_totals(replace(totals, escrow_micro=totals.escrow_micro - inference.escrow_micro))
    missed = next((node for node in inference.candidates if node not in inference.busy), None)
    participant = view.participant(missed) if missed else None
    if participant is not None:
        view.put_participant(replace(participant, misses=participant.misses + 1))
    view.put_inference(inference_id, replace(
        inference, status=Status.EXPIRED.value, refunded_micro=inference.escrow_micro, end_height=height,
        reason="not finished by its deadline",
    ))


def pay(view: View, height: int, inference_id: bytes, inference: Inference, reason: str) -> None:
    """VALIDATED: the due goes to the executor's owner."""
    assert inference.finish is not None
    owner = view.owner_of(inference.finish.record.executor)
    assert owner is not None
    _settle_due(view, owner, inference.due_micro)
    view.put_inference(inference_id, replace(
        inference, status=Status.VALIDATED.value, due_micro=0, paid_micro=inference.due_micro, end_height=height, reason=reason,
    ))


def refund(view: View, height: int, inference_id: bytes, inference: Inference, reason: str, status: Status) -> None:
    """INVALIDATED, or EXPIRED where nobody checked: all that was charged returns to the client."""
    _settle_due(view, inference.signed_request.request.account, inference.due_micro)
    view.put_inference(inference_id, replace(
        inference, status=status.value, due_micro=0, refunded_micro=inference.due_micro, end_height=height, reason=reason,
    ))


def _settle_due(view: View, account: bytes, amount: int) -> None:
    _credit(view, account, amount)
    totals = view.totals()
    view.put_totals(replace(totals, due_micro=totals.due_micro - amount))


def _credit(view: View, public: bytes, amount: int) -> None:
    account = view.account(public)
    view.put_account(public, replace(account, balance_micro=account.balance_micro + amount))
