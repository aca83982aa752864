"""The decision about one answer: the weighted vote of all its verdicts, and what follows for everybody who took part.

Law: a tie does not stand, because doubt is never 'valid'. Accusers alone convict nobody: a second committee must have
been heard. What does not stand can be appealed, and until that is over nobody is paid, marked or struck.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from p2p.base.types import Status
from p2p.ledger.conduct import executor_conduct, validator_conduct
from p2p.ledger.conduct.reputation import has_kernels
from p2p.ledger.inferences import appeals, verdict_comparison, withheld
from p2p.ledger.money import epoch_accounts
from p2p.ledger.money.outcomes import penalise, refund, stand
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.counted_weights import voting_weights
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state.committee import Committee, VerdictSeen
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.records import Inference

Nodes = frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Vote:
    """The verdicts of all committees that judged the answer and have weight."""

    verdicts: tuple[VerdictSeen, ...]
    weights: dict[bytes, int]  # validator -> what its verdict weighs; also of those that said 'withheld'

    @property
    def valid(self) -> int:
        return sum(self.weights[verdict.validator] for verdict in self.verdicts if verdict.valid)

    @property
    def invalid(self) -> int:
        return sum(self.weights[verdict.validator] for verdict in self.verdicts if not verdict.valid)

    @property
    def stands(self) -> bool:
        return self.valid > self.invalid

    @property
    def accusers(self) -> tuple[bytes, ...]:
        return tuple(verdict.validator for verdict in self.verdicts if not verdict.valid)

    @property
    def reason(self) -> str:
        """What the first accuser said; '' for an answer that stands."""
        return "" if self.stands else next(verdict.reason for verdict in self.verdicts if not verdict.valid)


def decide(ctx: Context, entry: InferenceEntry) -> None:
    """Count the vote and act on it, or keep the dispute open for an appeal.

    After an appeal that brought no new verdict the decision is the one before it (`appeals.weights_of`).
    """
    weights = appeals.weights_of(ctx, entry)
    own = ctx.view.owner_of(entry.executor) == entry.client
    if withheld.is_lost(entry.inference, weights):
        withheld.close(ctx, _without_numbers(entry), own=own)
        return
    vote = Vote(tuple(verdict for verdict in entry.inference.verdicts if weights[verdict.validator]), weights)
    heard_twice = _was_heard(ctx, entry.inference)
    if vote.valid + vote.invalid == 0:  # since they spoke, all of them were barred
        refund(ctx, _without_numbers(entry), "no validator answered", Status.EXPIRED)
        return
    if not vote.stands and not heard_twice:  # what kept the second committee away may not be the executor's doing
        reason = "an accusation that no second committee heard"
        refund(ctx, _without_numbers(entry), reason, Status.EXPIRED)
        return
    if not vote.stands and appeals.wait(ctx, entry, weights, vote.reason):
        return
    heard_on_appeal = any(weights[verdict.validator] for verdict in entry.inference.verdicts_on_appeal)
    entry = appeals.close(ctx, entry, confirmed=heard_on_appeal and not vote.stands)
    _count_validators(ctx, entry, vote, heard_twice=heard_twice, own=own)
    entry = _without_numbers(entry)
    if not own:
        checks = ctx.checks
        ratio = verdict_comparison.evidence_milli(vote.verdicts, weights, vote.stands, checks.llr_cap_milli)
        withheld.count_shown(ctx, entry.executor)
        executor_conduct.count_checked(ctx, entry.inference, ratio, vote.stands)
    if vote.stands:
        stand(ctx, entry, Status.UPHELD if entry.inference.dispute_height else Status.VALIDATED, "")
    else:
        _refuse(ctx, entry, vote, own=own)


def _refuse(ctx: Context, entry: InferenceEntry, vote: Vote, *, own: bool) -> None:
    """The answer does not stand: the client has its money back, and the executor is struck (M3, M16)."""
    if own:  # the client is the executor's owner: nobody is harmed, and the fault may be planted (planted_faults.py)
        entry = entry.changed(blame_height=ctx.height + ctx.checks.plant_window)
        ctx.view.add_due(entry.inference.blame_height, entry.id)
    else:
        executor_conduct.strike(ctx.view, entry.executor)
        epoch_accounts.fine(ctx, entry.inference)
        executor_conduct.count_found(ctx.view, entry.executor, vote.accusers)
    refund(ctx, entry, vote.reason, Status.INVALIDATED)


def _count_validators(ctx: Context, entry: InferenceEntry, vote: Vote, *, heard_twice: bool, own: bool) -> None:
    """Count what each validator's verdict says about itself: J1 to J4, J6 to J8, and M11."""
    inference, tolerance = entry.inference, ctx.checks.reveal_tolerance_milli
    compared, outliers = _outliers(inference, vote.weights, tolerance)
    if inference.dispute_height and vote.valid != vote.invalid and heard_twice:
        compared |= frozenset(verdict.validator for verdict in vote.verdicts)
        losers = _losers(ctx, entry, vote, outliers)
        if not vote.stands:
            missed = frozenset(verdict.validator for verdict in vote.verdicts if verdict.valid) & losers
            validator_conduct.count_detection(ctx, vote.accusers, missed)
        outliers |= losers
        for liar in sorted(losers & set(vote.accusers)) if not own else ():
            penalise(ctx, liar)
    spec = spec_at(ctx.view, entry.request.model, inference.draw_height)
    for committee in inference.committees:
        distances = verdict_comparison.distances(committee.verdicts, vote.weights, tolerance)
        validator_conduct.count_distances(ctx, spec.kernel_distance_milli if spec else 0, distances)
    validator_conduct.count_outliers(ctx, compared, outliers)


def _losers(ctx: Context, entry: InferenceEntry, vote: Vote, outliers: Nodes) -> Nodes:
    """J2, J3: validators that lost the dispute without an excuse. Other kernels are one, either way (J4, J8)."""
    lost = verdict_comparison.losers(vote.verdicts, vote.weights, vote.stands, ctx.checks)
    committees = [committee.judged for committee in entry.inference.committees]
    tolerance = ctx.checks.reveal_tolerance_milli
    if not vote.stands:
        return lost - verdict_comparison.excused_valid(committees, vote.weights, outliers, tolerance)
    model, stack = entry.request.model, entry.finish.stack
    nodes = (verdict.validator for verdict in vote.verdicts)
    equal = frozenset(node for node in nodes if has_kernels(ctx.view, node, model, stack))
    return lost - verdict_comparison.excused_invalid(committees, vote.weights, equal, tolerance)


def _was_heard(ctx: Context, inference: Inference) -> bool:
    """Whether more than half of the weight of the dispute's committee judged the answer.

    True where there was no dispute, or nobody else to ask.
    """
    since = inference.dispute_height
    asked = [committee for committee in inference.committees if since and committee.height >= since]
    if not asked or inference.appeal_until:  # only a dispute that was heard can be appealed
        return True
    weights = voting_weights(ctx, asked[0].members)
    return 2 * sum(weights[verdict.validator] for verdict in asked[0].judged) > sum(weights.values())


def _outliers(inference: Inference, weights: dict[bytes, int], tolerance_milli: int) -> tuple[Nodes, Nodes]:
    """(compared, outliers), within each committee: every committee shows numbers of other positions."""
    found = [verdict_comparison.outliers(one.verdicts, weights, tolerance_milli) for one in inference.committees]
    return frozenset().union(*(some for some, _ in found)), frozenset().union(*(some for _, some in found))


def _without_numbers(entry: InferenceEntry) -> InferenceEntry:
    """The verdicts without the numbers they showed: these were compared, and the blocks keep them."""
    return entry.changed(committees=tuple(map(_stripped, entry.inference.committees)))


def _stripped(committee: Committee) -> Committee:
    return replace(committee, verdicts=tuple(replace(verdict, numbers=()) for verdict in committee.verdicts))
