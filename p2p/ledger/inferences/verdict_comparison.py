"""What verdicts show besides valid and invalid: whose numbers are outliers, who is excused, how strong the evidence is.

Law: pure functions of the verdicts; their order does not matter. weights: validator -> what its verdict weighs.
Numbers are compared at positions that two verdicts both show; tolerances and ratios are in thousandths of a nat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from p2p.base.genesis import CheckRules
from p2p.base.types import RevealedRow
from p2p.ledger.state.committee import VerdictSeen

Nodes = frozenset[bytes]
Verdicts = Sequence[VerdictSeen]
Weights = Mapping[bytes, int]


def outliers(verdicts: Verdicts, weights: Weights, tolerance_milli: int) -> tuple[Nodes, Nodes]:
    """J1: (compared, outliers) of one committee.

    The largest group that agrees with one of its members, of at least two and more than half of the weight that shows
    numbers, is the reference; without one nobody is compared. An outlier disagrees with every member of it that it
    meets.
    """
    having = _with_numbers(verdicts, weights)
    agrees = {
        (a.validator, b.validator): said
        for a in having for b in having
        if a is not b and (said := agree(a.numbers, b.numbers, tolerance_milli)) is not None
    }
    groups = [
        frozenset({v.validator, *(other for (one, other), said in agrees.items() if one == v.validator and said)})
        for v in having
    ]
    total = sum(weights[v.validator] for v in having)
    best = max(groups, key=lambda group: (_weight(group, weights), sorted(group)), default=Nodes())
    if len(best) < 2 or _weight(best, weights) * 2 <= total:
        return frozenset(), frozenset()
    met = {
        v.validator: [agrees[pair] for node in best if (pair := (v.validator, node)) in agrees] for v in having
    }
    found = frozenset(node for node, said in met.items() if node not in best and said and not any(said))
    return best | frozenset(node for node, said in met.items() if said), found


def _with_numbers(verdicts: Verdicts, weights: Weights) -> list[VerdictSeen]:
    return [v for v in verdicts if v.numbers and weights.get(v.validator, 0) > 0]


def _weight(group: Nodes, weights: Weights) -> int:
    return sum(weights[node] for node in group)


def agree(a: Sequence[RevealedRow], b: Sequence[RevealedRow], tolerance_milli: int) -> bool | None:
    """Whether the rows agree at half or more of the positions that both show; None when they share none."""
    mine = {row.position: row for row in a}
    pairs = [(mine[row.position], row) for row in b if row.position in mine]
    good = sum(_same_row(x, y, tolerance_milli) for x, y in pairs)
    return good * 2 >= len(pairs) if pairs else None


def _same_row(a: RevealedRow, b: RevealedRow, tolerance_milli: int) -> bool:
    """At least half of the candidates are common, and their log-probabilities differ on average by the tolerance or
    less.
    """
    left, right = dict(a.candidates), dict(b.candidates)
    common = left.keys() & right.keys()
    if not common or len(common) * 2 < max(len(left), len(right)):
        return False
    return sum(abs(left[token] - right[token]) for token in common) <= tolerance_milli * len(common)


def mean_distance_milli(a: Sequence[RevealedRow], b: Sequence[RevealedRow]) -> int | None:
    """Mean |difference| of the log-probabilities that both show, rounded down; None when they share none."""
    mine = {(row.position, token): logprob for row in a for token, logprob in row.candidates}
    gaps = [
        abs(mine[key] - logprob)
        for row in b for token, logprob in row.candidates if (key := (row.position, token)) in mine
    ]
    return sum(gaps) // len(gaps) if gaps else None


def distances(verdicts: Verdicts, weights: Weights, tolerance_milli: int) -> dict[bytes, int]:
    """J7: validator -> how far its numbers are from those of the kernels that have the majority.

    The reference are identical numbers of at least two members with more than half of the weight that shows numbers;
    without it nobody is measured. Members of the reference are at 0; what is beyond the tolerance belongs to J1.
    """
    having = sorted(_with_numbers(verdicts, weights), key=lambda v: v.validator)
    total = sum(weights[v.validator] for v in having)
    for one in having:
        equal = [v for v in having if v is one or agree(one.numbers, v.numbers, 0)]
        if len(equal) > 1 and sum(weights[v.validator] for v in equal) * 2 > total:
            near = [v for v in having if agree(one.numbers, v.numbers, tolerance_milli)]
            found = {v.validator: mean_distance_milli(one.numbers, v.numbers) for v in near}
            same = {v.validator for v in equal}
            return {node: 0 if node in same else far for node, far in found.items() if far is not None}
    return {}


def losers(verdicts: Verdicts, weights: Weights, stands: bool, checks: CheckRules) -> Nodes:
    """J2, J3: validators whose verdict lost a dispute and cannot have been honest.

    In a grey zone honest validators split, and an executor could aim at it to have them marked. So a validator is
    excused where it measured (and, when accusing, measured something against the executor), its ratio is close to the
    median, and the median itself is small: it saw the same and judged differently.
    """
    median = _median((v.llr_milli, weights[v.validator]) for v in verdicts if v.tokens)

    def excused(verdict: VerdictSeen) -> bool:
        return (
            median is not None and verdict.tokens > 0 and abs(median) <= checks.grey_milli
            and abs(verdict.llr_milli - median) <= checks.near_milli and (verdict.valid or verdict.llr_milli > 0)
        )

    return frozenset(v.validator for v in verdicts if v.valid != stands and not excused(v))


def excused_valid(committees: Iterable[Verdicts], weights: Weights, outlying: Nodes, tolerance_milli: int) -> Nodes:
    """J4: validators excused for 'valid' on an answer that does not stand: their kernels could not show the fault.

    Equal kernels give equal bits, so numbers tell more about kernels than any name. Where all accusers measured with
    one and the same kernels, a validator that ran the model on other kernels is excused. Where a refusal of stage 0
    decided, or other kernels showed the fault too, everybody could have seen it.

    outlying: the outliers of J1, whose numbers prove nothing.
    """
    counted = _counted(committees, weights)
    if _exact([v for verdicts in counted for v in verdicts if not v.valid], weights):
        return frozenset()
    found: set[bytes] = set()
    for verdicts in counted:
        saw = [v.numbers for v in verdicts if not v.valid and v.numbers and v.validator not in outlying]
        if not all(agree(saw[0], numbers, 0) for numbers in saw):
            return frozenset()
        found |= {
            v.validator for v in verdicts
            if v.valid and saw and _other_kernels(saw[0], v.numbers, tolerance_milli)
        }
    return frozenset(found)


def excused_invalid(committees: Iterable[Verdicts], weights: Weights, equal: Nodes, tolerance_milli: int) -> Nodes:
    """J8, the mirror of J4: validators excused for 'invalid' on an answer that stands: the kernels of the majority
    could not show the fault.

    equal: validators known to have the executor's kernels. Where one of them said 'valid' they contradict each other,
    and nobody is excused. Otherwise an accuser among them is excused whose numbers agree with those of a 'valid'
    verdict without being the same: both ran the model, on different kernels.
    """
    counted = _counted(committees, weights)
    if any(v.valid and v.validator in equal for verdicts in counted for v in verdicts):
        return frozenset()
    return frozenset(
        v.validator for verdicts in counted for v in verdicts
        if not v.valid and v.validator in equal and v.numbers
        and any(_other_kernels(v.numbers, w.numbers, tolerance_milli) for w in verdicts if w.valid)
    )


def _counted(committees: Iterable[Verdicts], weights: Weights) -> list[list[VerdictSeen]]:
    """The verdicts of each committee that have weight."""
    return [[v for v in verdicts if weights.get(v.validator, 0) > 0] for verdicts in committees]


def _other_kernels(a: Sequence[RevealedRow], b: Sequence[RevealedRow], tolerance_milli: int) -> bool:
    """The numbers agree without being the same: the same model, run on different kernels."""
    return bool(agree(a, b, tolerance_milli)) and not agree(a, b, 0)


def _exact(accusers: Verdicts, weights: Weights) -> bool:
    """Whether half of the weight that said 'invalid' did so at stage 0, which needs no kernels."""
    refused = sum(weights[v.validator] for v in accusers if v.tokens == 0)
    return refused * 2 >= sum(weights[v.validator] for v in accusers)


def evidence_milli(verdicts: Verdicts, weights: Weights, stands: bool, cap_milli: int) -> int | None:
    """What the sequential test takes of a decided inference: the weighted median of the log-likelihood ratios, within
    +-cap_milli.

    The cap where half of the weight that said 'invalid' did so at stage 0, and that decided. Of two middle ratios the
    lower one counts, in the executor's favour. None: nobody measured.
    """
    if not stands and _exact([v for v in verdicts if not v.valid], weights):
        return cap_milli
    median = _median((v.llr_milli, weights[v.validator]) for v in verdicts if v.tokens)
    return None if median is None else min(max(median, -cap_milli), cap_milli)


def _median(pairs: Iterable[tuple[int, int]]) -> int | None:
    """The lower weighted median of (value, weight)."""
    rows = sorted(pair for pair in pairs if pair[1] > 0)
    total, below = sum(weight for _, weight in rows), 0
    for value, weight in rows:
        below += weight
        if below * 2 >= total:
            return value
    return None
