"""What verdicts say beside valid and invalid: whose numbers stand alone, and how much evidence there is. Law: pure; order does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from p2p.base.genesis import CheckRules
from p2p.base.types import RevealedRow
from p2p.ledger.state.committee import VerdictSeen

Nodes = frozenset[bytes]


def outliers(verdicts: Sequence[VerdictSeen], weights: Mapping[bytes, int], tolerance_milli: int) -> tuple[Nodes, Nodes]:
    """(compared, odd): odd are those whose numbers disagree with every one they meet of a group of at least two that agrees with one
    member of its own and holds more than half of the weight of all with numbers. No such group: nobody is compared."""
    having = [v for v in verdicts if v.numbers and weights.get(v.validator, 0) > 0]
    agrees = {
        (a.validator, b.validator): said
        for a in having for b in having
        if a is not b and (said := agree(a.numbers, b.numbers, tolerance_milli)) is not None
    }
    groups = [frozenset({v.validator, *(other for (one, other), said in agrees.items() if one == v.validator and said)}) for v in having]
    total = sum(weights[v.validator] for v in having)
    best = max(groups, key=lambda group: (_weight(group, weights), sorted(group)), default=frozenset[bytes]())
    if len(best) < 2 or _weight(best, weights) * 2 <= total:
        return frozenset(), frozenset()
    met = {v.validator: [agrees[pair] for node in best if (pair := (v.validator, node)) in agrees] for v in having}
    odd = frozenset(node for node, said in met.items() if node not in best and said and not any(said))
    return best | frozenset(node for node, said in met.items() if said), odd


def _weight(group: Nodes, weights: Mapping[bytes, int]) -> int:
    return sum(weights[node] for node in group)


def agree(a: Sequence[RevealedRow], b: Sequence[RevealedRow], tolerance_milli: int) -> bool | None:
    """Whether at least half of the positions both show agree; None when they share none."""
    mine = {row.position: row for row in a}
    pairs = [(mine[row.position], row) for row in b if row.position in mine]
    good = sum(_same_row(x, y, tolerance_milli) for x, y in pairs)
    return good * 2 >= len(pairs) if pairs else None


def _same_row(a: RevealedRow, b: RevealedRow, tolerance_milli: int) -> bool:
    """At least half of the candidates are common and their log-probabilities differ by at most the tolerance in the mean."""
    left, right = dict(a.candidates), dict(b.candidates)
    common = left.keys() & right.keys()
    if not common or len(common) * 2 < max(len(left), len(right)):
        return False
    return sum(abs(left[token] - right[token]) for token in common) <= tolerance_milli * len(common)


def apart_milli(a: Sequence[RevealedRow], b: Sequence[RevealedRow]) -> int | None:
    """Mean |difference| of the log-probabilities that both show, thousandths of a nat, rounded down; None when they share none."""
    mine = {(row.position, token): logprob for row in a for token, logprob in row.candidates}
    gaps = [abs(mine[key] - logprob) for row in b for token, logprob in row.candidates if (key := (row.position, token)) in mine]
    return sum(gaps) // len(gaps) if gaps else None


def distances(verdicts: Sequence[VerdictSeen], weights: Mapping[bytes, int], tolerance_milli: int) -> dict[bytes, int]:
    """J7: how far each one's numbers are from those of equal kernels that at least two members share, with more than half of the weight of
    all with numbers; thousandths of a nat, 0 for those. No such kernels: nobody is measured. Beyond the tolerance it is J1's."""
    having = sorted((v for v in verdicts if v.numbers and weights.get(v.validator, 0) > 0), key=lambda v: v.validator)
    total = sum(weights[v.validator] for v in having)
    for one in having:
        equal = [v for v in having if v is one or agree(one.numbers, v.numbers, 0)]
        if len(equal) > 1 and sum(weights[v.validator] for v in equal) * 2 > total:
            found = {v.validator: apart_milli(one.numbers, v.numbers) for v in having if agree(one.numbers, v.numbers, tolerance_milli)}
            return {node: 0 if any(v.validator == node for v in equal) else far for node, far in found.items() if far is not None}
    return {}


def losers(verdicts: Sequence[VerdictSeen], weights: Mapping[bytes, int], stands: bool, checks: CheckRules) -> Nodes:
    """J2, J3: those whose verdict lost a dispute and who cannot have meant it: false accusers and blind validators.

    In a grey zone honest validators split, and an executor could aim at it to have them marked. So who measured (and, when accusing,
    measured something against the executor), close to the median, where the median itself is small, only judged differently.
    """
    median = _median((v.llr_milli, weights[v.validator]) for v in verdicts if v.tokens)

    def meant(verdict: VerdictSeen) -> bool:
        return (
            median is not None and verdict.tokens > 0 and abs(median) <= checks.grey_milli
            and abs(verdict.llr_milli - median) <= checks.near_milli and (verdict.valid or verdict.llr_milli > 0)
        )

    return frozenset(v.validator for v in verdicts if v.valid != stands and not meant(v))


def unseen(
    committees: Iterable[Sequence[VerdictSeen]], weights: Mapping[bytes, int], odd: Nodes, tolerance_milli: int
) -> Nodes:
    """J4: those who said 'valid' to what does not stand, and whose kernels could not show it.

    Equal kernels give equal bits, so numbers say more about kernels than any name. Where all that speaks against an answer was measured by
    one and the same kernels, who ran the model on others did not look away. Where a refusal of stage 0 decided, or other kernels saw it too,
    everybody could have seen it. odd: by J1; whose numbers stand alone has seen nothing.
    """
    panels = [[v for v in panel if weights.get(v.validator, 0) > 0] for panel in committees]
    if _exact([v for panel in panels for v in panel if not v.valid], weights):
        return frozenset()
    found: set[bytes] = set()
    for panel in panels:
        saw = [v.numbers for v in panel if not v.valid and v.numbers and v.validator not in odd]
        if not all(agree(saw[0], numbers, 0) for numbers in saw):
            return frozenset()
        found |= {
            v.validator for v in panel
            if v.valid and saw and agree(saw[0], v.numbers, tolerance_milli) and not agree(saw[0], v.numbers, 0)
        }
    return frozenset(found)


def outvoted(committees: Iterable[Sequence[VerdictSeen]], weights: Mapping[bytes, int], equal: Nodes, tolerance_milli: int) -> Nodes:
    """J8, the mirror of J4: those who said 'invalid' to what stands, and whom only others outvoted that could not see it.

    equal: who is known to have the executor's kernels. Where one of them said 'valid', they contradict each other and nobody is excused.
    Else an accuser of them is, whose numbers agree with those of who said 'valid' without being the same: it ran the model, and on other kernels.
    """
    panels = [[v for v in panel if weights.get(v.validator, 0) > 0] for panel in committees]
    if any(v.valid and v.validator in equal for panel in panels for v in panel):
        return frozenset()
    return frozenset(
        v.validator for panel in panels for v in panel
        if not v.valid and v.validator in equal and v.numbers and any(
            agree(v.numbers, w.numbers, tolerance_milli) and not agree(v.numbers, w.numbers, 0) for w in panel if w.valid
        )
    )


def _exact(accusers: Sequence[VerdictSeen], weights: Mapping[bytes, int]) -> bool:
    """Half of the weight that said 'invalid' did so at stage 0, which needs no kernels."""
    refused = sum(weights[v.validator] for v in accusers if v.tokens == 0)
    return refused * 2 >= sum(weights[v.validator] for v in accusers)


def evidence_milli(verdicts: Sequence[VerdictSeen], weights: Mapping[bytes, int], stands: bool, cap_milli: int) -> int | None:
    """What the sequential test takes of a decided inference: the weighted median of the ratios of those who did stage 1.

    Where half the weight that said 'invalid' did so at stage 0, and that decided: the cap. Of two middle ratios the lower one counts,
    in the executor's favour. None: nobody measured.
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
