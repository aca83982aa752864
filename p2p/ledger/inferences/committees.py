"""The committees that check one inference: drawn, commit, reveal, decide. A second one follows an 'invalid', a third
one an appeal.

Law: a committee moves at the end of a block only, from what is on chain. A verdict weighs what its validator weighs,
and neither silence nor 'withheld' ever counts against an answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.conduct import validator_conduct
from p2p.ledger.conduct.reputation import check_milli
from p2p.ledger.inferences import appeals, decision, withheld
from p2p.ledger.money.outcomes import disagree, refund, stand, unconfirmed
from p2p.ledger.participants.eligibility import checking_lots, checking_lots_on
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.windows import MAX_DRAWS
from p2p.ledger.state import keys
from p2p.ledger.state.committee import Committee
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.verification.duty import draw_validators, is_sampled

EQUAL_SHARE = 4  # kernels need a quarter (1 / 4) of all weight to get half of a dispute's committee


def draw(ctx: Context, entry: InferenceEntry) -> None:
    """Draw the first committee, or none: by the draw, an answer goes unchecked and is settled.

    The beacon is of a height after the finish record's block, so the executor could not know it when it committed to
    its artifact's root.
    """
    finish = entry.finish
    probability = check_milli(ctx, finish.executor, entry.request.model, finish.stack)
    if disagree(entry.inference):  # nobody is paid for it, so there is nothing to check
        unconfirmed(ctx, entry)
    elif not entry.inference.in_sprint and not is_sampled(_beacon(ctx), entry.id, probability):
        stand(ctx, entry, Status.SETTLED, "not sampled")
    elif not _open(ctx, entry.changed(sampled_milli=probability), Status.VALIDATING):
        stand(ctx, entry, Status.SETTLED, "nobody else can check this model")


def step(ctx: Context, entry: InferenceEntry) -> None:
    """At the end of a block: move to the next phase when all members have spoken, or when the phase closes."""
    committee = entry.inference.committees[-1]
    if not committee.revealing:
        if len(committee.commits) < len(committee.members) and ctx.height < committee.closes:
            return
        if committee.commits:
            _reveal(ctx, entry, committee)
            return
    elif len(committee.verdicts) < len(committee.commits) and ctx.height < committee.closes:
        return
    _close(ctx, entry, committee)


def appealable(ctx: Context, entry: InferenceEntry) -> None:
    """At the end of a block: decide a lost dispute that nobody appealed in time, or draw the committee of its appeal.
    """
    appeal = entry.inference.appeal
    if appeal is None:
        if ctx.height == entry.inference.appeal_until:
            decision.decide(ctx, entry)
    elif ctx.height == appeal.height + ctx.genesis.validation_delay and not _open(ctx, entry, Status.APPEALED):
        decision.decide(ctx, entry)  # since the appeal, everybody who could be asked has left


def _beacon(ctx: Context) -> bytes:
    beacon = ctx.view.beacon(ctx.height)
    assert beacon is not None  # end_of_block put it
    return beacon


def _open(ctx: Context, entry: InferenceEntry, status: Status) -> bool:
    """Draw a committee; False where there is nobody to ask.

    A dispute and an appeal ask validators that were not asked before. A committee that is drawn again for the same
    question may include members who could not say anything the first time.
    """
    inference, model, beacon = entry.inference, entry.request.model, _beacon(ctx)
    sizes = {Status.DISPUTED: ctx.checks.dispute_committee, Status.APPEALED: ctx.checks.appeal_committee}
    count = sizes.get(status, ctx.genesis.committee)
    exclude = appeals.barred_from(ctx.view, entry, asked=status is not Status.VALIDATING)
    exclude |= {ctx.view.node_now(verdict.validator) for verdict in inference.verdicts}  # each has one vote
    equal = _equal_half(ctx, entry, exclude, count) if status is not Status.VALIDATING else ()
    more = draw_validators(beacon, entry.id, checking_lots(ctx, model), {*exclude, *equal}, count - len(equal))
    members = (*equal, *more)
    if not members:
        return False
    committee = Committee(ctx.height, beacon, members, ctx.height + max(ctx.genesis.validation_window, 1))
    ctx.save(entry.changed(status=status.value, committees=(*inference.committees, committee)))
    for member in members:
        ctx.view.add_id(keys.duties(member), entry.id)
    ctx.view.add_due(committee.closes, entry.id)
    return True


def _equal_half(ctx: Context, entry: InferenceEntry, exclude: Iterable[bytes], count: int) -> tuple[bytes, ...]:
    """The half of a dispute's or an appeal's committee that is known to have the executor's kernels (decision 029).

    A fault that only equal kernels show must not be outvoted by validators that cannot see it. Kernels with less than a
    quarter of the weight get no half of their own: a few nodes could invent a stack to frame or to shield an executor.
    """
    model = entry.request.model
    equal = checking_lots_on(ctx, model, entry.finish.stack)
    if equal.weight * EQUAL_SHARE < checking_lots(ctx, model).weight:
        return ()
    return draw_validators(_beacon(ctx), entry.id, equal, exclude, (count + 1) // 2)


def _reveal(ctx: Context, entry: InferenceEntry, committee: Committee) -> None:
    committee = replace(committee, revealing=True, closes=ctx.height + ctx.checks.reveal_window)
    ctx.save(entry.changed(status=Status.REVEALING.value, committees=(*entry.inference.committees[:-1], committee)))
    ctx.view.add_due(committee.closes, entry.id)


def _close(ctx: Context, entry: InferenceEntry, committee: Committee) -> None:
    """A committee's work is over: open a dispute, ask a fresh committee, or decide."""
    for node in committee.members:
        ctx.view.remove_id(keys.duties(node), entry.id)
    validator_conduct.count_duties(ctx, committee)
    if not entry.inference.dispute_height:
        if not all(verdict.valid for verdict in committee.judged):
            entry = entry.changed(dispute_height=ctx.height)
            if _open(ctx, entry, Status.DISPUTED):
                return
        elif _asks_again(ctx, entry, committee) and _open(ctx, entry, Status.VALIDATING):
            return
    if not entry.inference.revealed:
        refund(ctx, entry, "no validator answered", Status.EXPIRED)
        return
    decision.decide(ctx, entry)


def _asks_again(ctx: Context, entry: InferenceEntry, committee: Committee) -> bool:
    """Whether to draw once more: nobody spoke, or too few got the payload. What kept them away may be over by then."""
    if len(entry.inference.committees) >= MAX_DRAWS:
        return False
    return not committee.verdicts or withheld.is_missing(committee, appeals.weights_of(ctx, entry))
