"""The committees of one inference: drawn, commit, reveal, decide; a second one where one says 'invalid', a third on appeal. Law: it moves
at the end of a block only, from what is on chain; a verdict's weight is its validator's, and neither silence nor 'withheld' ever says that
an answer is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.conduct import executor_conduct as standing
from p2p.ledger.conduct import validator_conduct
from p2p.ledger.conduct.reputation import check_milli, has_kernels
from p2p.ledger.inferences import appeals, withheld
from p2p.ledger.inferences import verdict_comparison as compare
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.outcomes import disagree, penalise, refund, stand, unconfirmed
from p2p.ledger.participants.eligibility import checking_lots, checking_lots_on
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.rules.models import spec_at
from p2p.ledger.rules.windows import MAX_DRAWS
from p2p.ledger.state import keys
from p2p.ledger.state.committee import Panel
from p2p.ledger.state.records import Inference
from p2p.verification.duty import draw_validators, is_sampled

EQUAL_SHARE = 4  # of all weight, a quarter at least has the kernels that get half of a dispute's committee


def draw(ctx: Context, inference_id: bytes, inference: Inference) -> None:
    """The first committee, from a beacon the executor could not know when its root went on chain; or none, by chance."""
    assert inference.finish is not None
    finish = inference.finish.record
    probability = check_milli(ctx, finish.executor, inference.signed_request.request.model, finish.stack)
    if disagree(inference):  # nobody will be paid for it, so there is nothing to check
        unconfirmed(ctx, inference_id, inference)
    elif not inference.in_sprint and not is_sampled(_beacon(ctx), inference_id, probability):
        stand(ctx, inference_id, inference, Status.SETTLED, "not sampled")
    elif not _open(ctx, inference_id, replace(inference, sampled_milli=probability), Status.VALIDATING):
        stand(ctx, inference_id, inference, Status.SETTLED, "nobody else can check this model")


def step(ctx: Context, inference_id: bytes, inference: Inference) -> None:
    """At the end of block `height`: go on when all have spoken, or when the phase closes."""
    panel = inference.panels[-1]
    if not panel.revealing:
        if len(panel.commits) < len(panel.members) and ctx.height < panel.closes:
            return
        if panel.commits:
            _reveal(ctx, inference_id, inference, panel)
            return
    elif len(panel.verdicts) < len(panel.commits) and ctx.height < panel.closes:
        return
    _close(ctx, inference_id, inference, panel)


def appealable(ctx: Context, inference_id: bytes, inference: Inference) -> None:
    """At the end of block `height`: nobody appealed in time, or the beacon is there that draws the appeal's committee."""
    if inference.appeal is None:
        if ctx.height == inference.appeal_until:
            _decide(ctx, inference_id, inference)
    elif ctx.height == inference.appeal.height + ctx.genesis.validation_delay and not _open(
        ctx, inference_id, inference, Status.APPEALED
    ):
        _decide(ctx, inference_id, inference)  # nobody is left since


def _beacon(ctx: Context) -> bytes:
    beacon = ctx.view.beacon(ctx.height)
    assert beacon is not None  # end_of_block put it
    return beacon


def _open(ctx: Context, inference_id: bytes, inference: Inference, status: Status) -> bool:
    """Draw a committee; False where nobody is left to ask. A dispute and an appeal ask those that were not asked before; who asks once more may
    ask those again that could say nothing."""
    checks = ctx.checks
    count = {Status.DISPUTED: checks.dispute_committee, Status.APPEALED: checks.appeal_committee}.get(status, ctx.genesis.committee)
    exclude = appeals.barred_from(ctx.view, inference, asked=status is not Status.VALIDATING)
    exclude |= {ctx.view.node_now(verdict.validator) for verdict in inference.verdicts}  # each has one vote
    candidates = checking_lots(ctx, inference.signed_request.request.model)
    members = _equal_half(ctx, inference_id, inference, exclude, count) if status is not Status.VALIDATING else ()
    more = draw_validators(_beacon(ctx), inference_id, candidates, {*exclude, *members}, count - len(members))
    members = (*members, *more)
    if not members:
        return False
    panel = Panel(ctx.height, _beacon(ctx), members, ctx.height + max(ctx.genesis.validation_window, 1))
    ctx.view.put_inference(inference_id, replace(inference, status=status.value, panels=(*inference.panels, panel)))
    for member in members:
        ctx.view.add_id(keys.duties(member), inference_id)
    ctx.view.add_due(panel.closes, inference_id)
    return True


def _equal_half(
    ctx: Context, inference_id: bytes, inference: Inference, exclude: Iterable[bytes], count: int
) -> tuple[bytes, ...]:
    """Of the committee of a dispute or an appeal, those drawn from whoever is known to have the executor's kernels: what only equal kernels see
    must not be outvoted by others that cannot (decision 029). A stack of less than a quarter of the weight has no say of its own, else a
    few could make one to frame or to shield."""
    assert inference.finish is not None
    model = inference.signed_request.request.model
    equal = checking_lots_on(ctx, model, inference.finish.record.stack)
    if equal.weight * EQUAL_SHARE < checking_lots(ctx, model).weight:
        return ()
    return draw_validators(_beacon(ctx), inference_id, equal, exclude, (count + 1) // 2)


def _reveal(ctx: Context, inference_id: bytes, inference: Inference, panel: Panel) -> None:
    panel = replace(panel, revealing=True, closes=ctx.height + ctx.checks.reveal_window)
    ctx.view.put_inference(inference_id, replace(
        inference, status=Status.REVEALING.value, panels=(*inference.panels[:-1], panel),
    ))
    ctx.view.add_due(panel.closes, inference_id)


def _close(ctx: Context, inference_id: bytes, inference: Inference, panel: Panel) -> None:
    """A committee's work is over: a dispute, a fresh committee, or the decision."""
    for node in panel.members:
        ctx.view.remove_id(keys.duties(node), inference_id)
    validator_conduct.count_duties(ctx, panel)
    if not inference.dispute_height:
        if not all(verdict.valid for verdict in panel.judged):
            inference = replace(inference, dispute_height=ctx.height)
            if _open(ctx, inference_id, inference, Status.DISPUTED):
                return
        elif _asks_again(ctx, inference, panel) and _open(ctx, inference_id, inference, Status.VALIDATING):
            return
    if not inference.revealed:
        refund(ctx, inference_id, inference, "no validator answered", Status.EXPIRED)
        return
    _decide(ctx, inference_id, inference)


def _asks_again(ctx: Context, inference: Inference, panel: Panel) -> bool:
    """Nobody spoke, or too few could get it: once more, for what kept them away may be over by then."""
    silent = not panel.verdicts
    return len(inference.panels) < MAX_DRAWS and (silent or withheld.is_missing(panel, appeals.weights_of(ctx, inference)))


def _decide(ctx: Context, inference_id: bytes, inference: Inference) -> None:
    """The weighted vote over all verdicts about it. A tie does not stand: doubt is never 'valid'. Where no committee could get it there is
    nothing to vote on (withheld.py). What does not stand may be appealed, and until that is over nobody is paid, marked or struck; without
    new verdicts it then is what it was (appeals.weights_of)."""
    assert inference.finish is not None
    node, stack = inference.finish.record.executor, inference.finish.record.stack
    weights = appeals.weights_of(ctx, inference)
    own = ctx.view.owner_of(node) == inference.signed_request.request.account
    if withheld.is_lost(inference, weights):
        withheld.close(ctx, inference_id, replace(inference, panels=tuple(map(_without_numbers, inference.panels))), own=own)
        return
    verdicts = [verdict for verdict in inference.verdicts if weights[verdict.validator]]
    valid = sum(weights[v.validator] for v in verdicts if v.valid)
    invalid = sum(weights[v.validator] for v in verdicts if not v.valid)
    if valid + invalid == 0:  # all were barred meanwhile
        inference = replace(inference, panels=tuple(map(_without_numbers, inference.panels)))
        refund(ctx, inference_id, inference, "no validator answered", Status.EXPIRED)
        return
    stands = valid > invalid
    heard_twice = _was_heard(ctx, inference)
    if not stands and not heard_twice:  # accusers alone convict nobody, and what kept the others away is not the executor's doing
        inference = replace(inference, panels=tuple(map(_without_numbers, inference.panels)))
        refund(ctx, inference_id, inference, "an accusation that no second committee heard", Status.EXPIRED)
        return
    reason = "" if stands else next(v.reason for v in verdicts if not v.valid)
    if not stands and appeals.wait(ctx, inference_id, inference, weights, reason):
        return
    heard = any(weights[v.validator] for v in inference.verdicts_on_appeal)
    inference = appeals.close(ctx, inference_id, inference, confirmed=heard and not stands)
    checks = ctx.checks
    compared, odd = _outliers(inference, weights, checks.reveal_tolerance_milli)
    if inference.dispute_height and valid != invalid and heard_twice:
        compared |= frozenset(verdict.validator for verdict in verdicts)
        lost = compare.losers(verdicts, weights, stands, checks)
        committees = [panel.judged for panel in inference.panels]
        if stands:
            model = inference.signed_request.request.model
            equal = frozenset(v.validator for v in verdicts if has_kernels(ctx.view, v.validator, model, stack))
            lost -= compare.outvoted(committees, weights, equal, checks.reveal_tolerance_milli)
        else:
            lost -= compare.unseen(committees, weights, odd, checks.reveal_tolerance_milli)
            validator_conduct.count_detection(
                ctx, (v.validator for v in verdicts if not v.valid), frozenset(v.validator for v in verdicts if v.valid) & lost
            )
        odd |= lost
        for liar in sorted(v.validator for v in verdicts if v.validator in lost and not v.valid and not own):
            penalise(ctx, liar)
    spec = spec_at(ctx.view, inference.signed_request.request.model, inference.draw_height)
    for panel in inference.panels:
        far = compare.distances(panel.verdicts, weights, checks.reveal_tolerance_milli)
        validator_conduct.count_distances(ctx, spec.kernel_distance_milli if spec else 0, far)
    inference = replace(inference, panels=tuple(map(_without_numbers, inference.panels)))
    validator_conduct.count_outliers(ctx, compared, odd)
    if not own:
        llr = compare.evidence_milli(verdicts, weights, stands, checks.llr_cap_milli)
        withheld.count_shown(ctx, node)
        standing.count_checked(ctx, inference, llr, stands)
    if stands:
        outcome = Status.UPHELD if inference.dispute_height else Status.VALIDATED
        stand(ctx, inference_id, inference, outcome, "")
        return
    if own:  # the client is the executor's owner: nobody is harmed, and it may have been planted (plants.py)
        inference = replace(inference, blame_height=ctx.height + checks.plant_window)
        ctx.view.add_due(inference.blame_height, inference_id)
    else:
        standing.strike(ctx.view, node)
        earnings.fine(ctx, inference)
        standing.count_found(ctx.view, node, (v.validator for v in verdicts if not v.valid))
    refund(ctx, inference_id, inference, reason, Status.INVALIDATED)


def _was_heard(ctx: Context, inference: Inference) -> bool:
    """Whether more than half of the weight of the committee of its dispute judged; True where there was no dispute, or nobody else to ask."""
    asked = [panel for panel in inference.panels if inference.dispute_height and panel.height >= inference.dispute_height]
    if not asked or inference.appeal_until:  # what may be appealed was heard
        return True
    weights = voting_weights(ctx, asked[0].members)
    return 2 * sum(weights[verdict.validator] for verdict in asked[0].judged) > sum(weights.values())


def _outliers(inference: Inference, weights: dict[bytes, int], tolerance_milli: int) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """(compared, odd) within each committee: every committee shows other ranks."""
    found = [compare.outliers(panel.verdicts, weights, tolerance_milli) for panel in inference.panels]
    return frozenset().union(*(some for some, _ in found)), frozenset().union(*(some for _, some in found))


def _without_numbers(panel: Panel) -> Panel:
    return replace(panel, verdicts=tuple(replace(verdict, numbers=()) for verdict in panel.verdicts))
