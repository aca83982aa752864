"""How an inference ends in money. Law: each end moves the whole escrow or the whole due, once; what the client paid or gets back is exact.

Two-sided records: a fee is booked only when the agent says that it streamed what the executor finished (rules M1, M6 of README.md). What is
booked stays in `due` until the epoch's end (epochs.py).
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.genesis import Genesis
from p2p.base.types import Status
from p2p.ledger.conduct import executor_conduct as standing
from p2p.ledger.money import collateral
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.accounts import credit, prove
from p2p.ledger.money.epoch_accounts import NOBODY, keep_ended
from p2p.ledger.money.notices import notify
from p2p.ledger.money.price import used_by
from p2p.ledger.rules import parameters
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.state.records import Inference, Notice
from p2p.ledger.state.view import View


def expire(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """Never finished (M4): the whole escrow back; a miss for the only drawn executor that did not say Busy. Where two or more were silent it was
    the network, or an agent that asked none of them, and nobody's miss; where a Busy names the agent's doing, that agent could have had any."""
    totals = view.totals()
    view.put_totals(replace(totals, escrow_micro=totals.escrow_micro - inference.escrow_micro))
    silent = [node for node in inference.candidates if node not in inference.busy]
    missed = silent[0] if len(silent) == 1 and NOBODY not in inference.busy else None
    if missed is not None:
        standing.count_unfinished(view, genesis, missed, inference.agent)
    _give_back(
        view, genesis, height, inference_id, inference, inference.escrow_micro, "not finished by its deadline", Status.EXPIRED, missed or NOBODY
    )


def stand(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, outcome: Status, reason: str) -> None:
    """As far as its check goes it stands, as `outcome`. It is paid when the agent confirms what the executor finished, within
    output_window heights of the finish; until then it waits, FINISHED with that outcome."""
    assert inference.finish is not None
    closes = inference.finish_height + parameters.economy(view, genesis).output_window
    if inference.output_hash is None and height < closes:
        if not inference.outcome:
            view.add_due(closes, inference_id)
            view.put_inference(inference_id, replace(inference, status=Status.FINISHED.value, outcome=outcome.value, reason=reason))
        return
    if disagree(inference) or inference.output_hash is None:
        unconfirmed(view, genesis, height, inference_id, inference)
        return
    standing.count_pair(view, genesis, height, inference, differ=False)
    finish, request = inference.finish.record, inference.signed_request.request
    if not inference.in_sprint:
        earnings.book(view, genesis, height, inference)
    if view.owner_of(finish.executor) != request.account:  # what one asks of oneself says nothing, for oneself or of demand
        standing.count_booked(view, inference, checked=outcome is not Status.SETTLED)
        if not inference.in_sprint:
            used_by(view, request.model, height, finish.generated)
            _of_use(view, genesis, height, inference)
            rules = parameters.economy(view, genesis)
            prove(view, request.account, inference.due_micro * (rules.burn_share_milli + rules.validator_share_milli) // 1000)
    view.put_inference(inference_id, replace(
        inference, status=outcome.value, outcome="", due_micro=0, paid_micro=inference.due_micro, end_height=height, reason=reason,
    ))
    keep_ended(view, genesis, height, inference.finish.record.executor, inference_id)


def _of_use(view: View, genesis: Genesis, height: int, inference: Inference) -> None:
    """Its agent keeps its place (places.py). An answer that costs less than a place does not count, or many places were held by little."""
    agent = view.participant(inference.agent)
    least = parameters.economy(view, genesis).registration_fee_micro
    if agent is not None and not agent.weight and agent.active < height and inference.due_micro >= least:
        view.put_participant(replace(agent, active=height))


def disagree(inference: Inference) -> bool:
    """Whether both records are there and say different things."""
    if inference.finish is None or inference.output_hash is None:
        return False
    finish = inference.finish.record
    return (finish.output_hash, finish.output_tokens) != (inference.output_hash, inference.streamed_tokens)


def unconfirmed(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """The two records differ, or the agent was silent (M6): the client has everything back, neither side is paid and both are marked, for
    nobody can tell which of them it was."""
    said = inference.output_hash is not None
    reason = "agent and executor do not say the same was streamed" if said else "the agent did not say what it streamed"
    standing.count_pair(view, genesis, height, inference, differ=True)
    refund(view, genesis, height, inference_id, inference, reason, Status.UNCONFIRMED)


def refund(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, reason: str, status: Status) -> None:
    """INVALIDATED (M3), UNCONFIRMED (M6), or EXPIRED where nobody checked (M5): all that was charged returns to the client."""
    assert inference.finish is not None
    totals = view.totals()
    view.put_totals(replace(totals, due_micro=totals.due_micro - inference.due_micro))
    _give_back(view, genesis, height, inference_id, inference, inference.due_micro, reason, status, inference.finish.record.executor)


def _give_back(
    view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, amount: int, reason: str, status: Status, node: bytes
) -> None:
    client = inference.signed_request.request.account
    if not inference.in_sprint:
        credit(view, client, amount)
        notify(view, client, Notice(inference_id, status.value, amount, height))
    view.put_inference(inference_id, replace(
        inference, status=status.value, outcome="", due_micro=0, refunded_micro=amount, end_height=height, reason=reason,
    ))
    keep_ended(view, genesis, height, node, inference_id)


def penalise(view: View, genesis: Genesis, height: int, node: bytes) -> None:
    """Accused falsely (M11): burnt from the collateral."""
    burn(view, genesis, height, collateral.take(view, node, parameters.economy(view, genesis).accuse_penalty_micro))


def burn(view: View, genesis: Genesis, height: int, amount: int) -> None:
    """A penalty or a fee that the CALLER has taken from where it was (M11, M15, M19)."""
    if amount == 0:
        return
    totals, epoch = view.totals(), epoch_of(genesis, height)
    view.put_totals(replace(totals, burnt_micro=totals.burnt_micro + amount))
    sums = earnings.sums(view, epoch)
    earnings.put_sums(view, epoch, replace(sums, penalties_micro=sums.penalties_micro + amount, burnt_micro=sums.burnt_micro + amount))
