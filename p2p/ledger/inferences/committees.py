"""The committees of one inference: drawn, commit, reveal, decide; a second one where one says 'invalid', a third on appeal. Law: it moves
at the end of a block only, from what is on chain; a verdict's weight is its validator's, and neither silence nor 'withheld' ever says that
an answer is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from p2p.base.genesis import Genesis
from p2p.base.types import Status
from p2p.ledger.conduct import executor_conduct as standing
from p2p.ledger.conduct import validator_conduct
from p2p.ledger.conduct.reputation import check_milli, has_kernels
from p2p.ledger.inferences import appeals, withheld
from p2p.ledger.inferences import verdict_comparison as compare
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.outcomes import disagree, penalise, refund, stand, unconfirmed
from p2p.ledger.participants.eligibility import checking_lots, checking_lots_on
from p2p.ledger.rules import parameters
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.rules.models import spec_at
from p2p.ledger.rules.windows import MAX_DRAWS
from p2p.ledger.state.committee import Panel
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View
from p2p.verification.duty import draw_validators, is_sampled

EQUAL_SHARE = 4  # of all weight, a quarter at least has the kernels that get half of a dispute's committee


def draw(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """The first committee, from a beacon the executor could not know when its root went on chain; or none, by chance."""
    assert inference.finish is not None
    finish = inference.finish.record
    probability = check_milli(view, genesis, finish.executor, inference.signed_request.request.model, finish.stack)
    if disagree(inference):  # nobody will be paid for it, so there is nothing to check
        unconfirmed(view, genesis, height, inference_id, inference)
    elif not inference.in_sprint and not is_sampled(_beacon(view, height), inference_id, probability):
        stand(view, genesis, height, inference_id, inference, Status.SETTLED, "not sampled")
    elif not _open(view, genesis, height, inference_id, replace(inference, sampled_milli=probability), Status.VALIDATING):
        stand(view, genesis, height, inference_id, inference, Status.SETTLED, "nobody else can check this model")


def step(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """At the end of block `height`: go on when all have spoken, or when the phase closes."""
    panel = inference.panels[-1]
    if not panel.revealing:
        if len(panel.commits) < len(panel.members) and height < panel.closes:
            return
        if panel.commits:
            _reveal(view, genesis, height, inference_id, inference, panel)
            return
    elif len(panel.verdicts) < len(panel.commits) and height < panel.closes:
        return
    _close(view, genesis, height, inference_id, inference, panel)


def appealable(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """At the end of block `height`: nobody appealed in time, or the beacon is there that draws the appeal's committee."""
    if inference.appeal is None:
        if height == inference.appeal_until:
            _decide(view, genesis, height, inference_id, inference)
    elif height == inference.appeal.height + genesis.validation_delay and not _open(
        view, genesis, height, inference_id, inference, Status.APPEALED
    ):
        _decide(view, genesis, height, inference_id, inference)  # nobody is left since


def _beacon(view: View, height: int) -> bytes:
    beacon = view.beacon(height)
    assert beacon is not None  # end_of_block put it
    return beacon


def _open(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, status: Status) -> bool:
    """Draw a committee; False where nobody is left to ask. A dispute and an appeal ask those that were not asked before; who asks once more may
    ask those again that could say nothing."""
    checks = parameters.checks(view, genesis)
    count = {Status.DISPUTED: checks.dispute_committee, Status.APPEALED: checks.appeal_committee}.get(status, genesis.committee)
    exclude = appeals.barred_from(view, inference, asked=status is not Status.VALIDATING)
    exclude |= {view.node_now(verdict.validator) for verdict in inference.verdicts}  # each has one vote
    candidates = checking_lots(view, genesis, inference.signed_request.request.model)
    members = _equal_half(view, genesis, height, inference_id, inference, exclude, count) if status is not Status.VALIDATING else ()
    more = draw_validators(_beacon(view, height), inference_id, candidates, {*exclude, *members}, count - len(members))
    members = (*members, *more)
    if not members:
        return False
    panel = Panel(height, _beacon(view, height), members, height + max(genesis.validation_window, 1))
    view.put_inference(inference_id, replace(inference, status=status.value, panels=(*inference.panels, panel)))
    for member in members:
        view.add_id(b"duty/" + member, inference_id)
    view.add_due(panel.closes, inference_id)
    return True


def _equal_half(
    view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, exclude: Iterable[bytes], count: int
) -> tuple[bytes, ...]:
    """Of the committee of a dispute or an appeal, those drawn from whoever is known to have the executor's kernels: what only equal kernels see
    must not be outvoted by others that cannot (decision 029). A stack of less than a quarter of the weight has no say of its own, else a
    few could make one to frame or to shield."""
    assert inference.finish is not None
    model = inference.signed_request.request.model
    equal = checking_lots_on(view, genesis, model, inference.finish.record.stack)
    if equal.weight * EQUAL_SHARE < checking_lots(view, genesis, model).weight:
        return ()
    return draw_validators(_beacon(view, height), inference_id, equal, exclude, (count + 1) // 2)


def _reveal(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, panel: Panel) -> None:
    panel = replace(panel, revealing=True, closes=height + parameters.checks(view, genesis).reveal_window)
    view.put_inference(inference_id, replace(
        inference, status=Status.REVEALING.value, panels=(*inference.panels[:-1], panel),
    ))
    view.add_due(panel.closes, inference_id)


def _close(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference, panel: Panel) -> None:
    """A committee's work is over: a dispute, a fresh committee, or the decision."""
    for node in panel.members:
        view.remove_id(b"duty/" + node, inference_id)
    validator_conduct.count_duties(view, genesis, height, panel)
    if not inference.dispute_height:
        if not all(verdict.valid for verdict in panel.judged):
            inference = replace(inference, dispute_height=height)
            if _open(view, genesis, height, inference_id, inference, Status.DISPUTED):
                return
        elif _asks_again(view, genesis, inference, panel) and _open(view, genesis, height, inference_id, inference, Status.VALIDATING):
            return
    if not inference.revealed:
        refund(view, genesis, height, inference_id, inference, "no validator answered", Status.EXPIRED)
        return
    _decide(view, genesis, height, inference_id, inference)


def _asks_again(view: View, genesis: Genesis, inference: Inference, panel: Panel) -> bool:
    """Nobody spoke, or too few could get it: once more, for what kept them away may be over by then."""
    silent = not panel.verdicts
    return len(inference.panels) < MAX_DRAWS and (silent or withheld.is_missing(panel, appeals.weights_of(view, genesis, inference)))


def _decide(view: View, genesis: Genesis, height: int, inference_id: bytes, inference: Inference) -> None:
    """The weighted vote over all verdicts about it. A tie does not stand: doubt is never 'valid'. Where no committee could get it there is
    nothing to vote on (withheld.py). What does not stand may be appealed, and until that is over nobody is paid, marked or struck; without
    new verdicts it then is what it was (appeals.weights_of)."""
    assert inference.finish is not None
    node, stack = inference.finish.record.executor, inference.finish.record.stack
    weights = appeals.weights_of(view, genesis, inference)
    own = view.owner_of(node) == inference.signed_request.request.account
    if withheld.is_lost(inference, weights):
        withheld.close(view, genesis, height, inference_id, replace(inference, panels=tuple(map(_without_numbers, inference.panels))), own=own)
        return
    verdicts = [verdict for verdict in inference.verdicts if weights[verdict.validator]]
    valid = sum(weights[v.validator] for v in verdicts if v.valid)
    invalid = sum(weights[v.validator] for v in verdicts if not v.valid)
    if valid + invalid == 0:  # all were barred meanwhile
        inference = replace(inference, panels=tuple(map(_without_numbers, inference.panels)))
        refund(view, genesis, height, inference_id, inference, "no validator answered", Status.EXPIRED)
        return
    stands = valid > invalid
    heard_twice = _was_heard(view, genesis, inference)
    if not stands and not heard_twice:  # accusers alone convict nobody, and what kept the others away is not the executor's doing
        inference = replace(inference, panels=tuple(map(_without_numbers, inference.panels)))
        refund(view, genesis, height, inference_id, inference, "an accusation that no second committee heard", Status.EXPIRED)
        return
    reason = "" if stands else next(v.reason for v in verdicts if not v.valid)
    if not stands and appeals.wait(view, genesis, height, inference_id, inference, weights, reason):
        return
    heard = any(weights[v.validator] for v in inference.verdicts_on_appeal)
    inference = appeals.close(view, genesis, height, inference_id, inference, confirmed=heard and not stands)
    checks = parameters.checks(view, genesis)
    compared, odd = _outliers(inference, weights, checks.reveal_tolerance_milli)
    if inference.dispute_height and valid != invalid and heard_twice:
        compared |= frozenset(verdict.validator for verdict in verdicts)
        lost = compare.losers(verdicts, weights, stands, checks)
        committees = [panel.judged for panel in inference.panels]
        if stands:
            model = inference.signed_request.request.model
            equal = frozenset(v.validator for v in verdicts if has_kernels(view, v.validator, model, stack))
            lost -= compare.outvoted(committees, weights, equal, checks.reveal_tolerance_milli)
        else:
            lost -= compare.unseen(committees, weights, odd, checks.reveal_tolerance_milli)
            validator_conduct.count_detection(
                view, genesis, height, (v.validator for v in verdicts if not v.valid), frozenset(v.validator for v in verdicts if v.valid) & lost
            )
        odd |= lost
        for liar in sorted(v.validator for v in verdicts if v.validator in lost and not v.valid and not own):
            penalise(view, genesis, height, liar)
    spec = spec_at(view, inference.signed_request.request.model, inference.draw_height)
    for panel in inference.panels:
        far = compare.distances(panel.verdicts, weights, checks.reveal_tolerance_milli)
        validator_conduct.count_distances(view, genesis, height, spec.kernel_distance_milli if spec else 0, far)
    inference = replace(inference, panels=tuple(map(_without_numbers, inference.panels)))
    validator_conduct.mark(view, genesis, height, compared, odd)
    if not own:
        llr = compare.evidence_milli(verdicts, weights, stands, checks.llr_cap_milli)
        withheld.count_shown(view, genesis, node)
        standing.count_checked(view, genesis, height, inference, llr, stands)
    if stands:
        outcome = Status.UPHELD if inference.dispute_height else Status.VALIDATED
        stand(view, genesis, height, inference_id, inference, outcome, "")
        return
    if own:  # the client is the executor's owner: nobody is harmed, and it may have been planted (plants.py)
        inference = replace(inference, blame_height=height + checks.plant_window)
        view.add_due(inference.blame_height, inference_id)
    else:
        standing.strike(view, node)
        earnings.fine(view, genesis, height, inference)
        standing.count_found(view, node, (v.validator for v in verdicts if not v.valid))
    refund(view, genesis, height, inference_id, inference, reason, Status.INVALIDATED)


def _was_heard(view: View, genesis: Genesis, inference: Inference) -> bool:
    """Whether more than half of the weight of the committee of its dispute judged; True where there was no dispute, or nobody else to ask."""
    asked = [panel for panel in inference.panels if inference.dispute_height and panel.height >= inference.dispute_height]
    if not asked or inference.appeal_until:  # what may be appealed was heard
        return True
    weights = voting_weights(view, genesis, asked[0].members)
    return 2 * sum(weights[verdict.validator] for verdict in asked[0].judged) > sum(weights.values())


def _outliers(inference: Inference, weights: dict[bytes, int], tolerance_milli: int) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """(compared, odd) within each committee: every committee shows other ranks."""
    found = [compare.outliers(panel.verdicts, weights, tolerance_milli) for panel in inference.panels]
    return frozenset().union(*(some for some, _ in found)), frozenset().union(*(some for _, some in found))


def _without_numbers(panel: Panel) -> Panel:
    return replace(panel, verdicts=tuple(replace(verdict, numbers=()) for verdict in panel.verdicts))
