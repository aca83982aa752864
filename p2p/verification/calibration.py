"""From measured facts to a profile.

Law: pure. Everything that decides later is fitted here, from honest runs of this model and from its alternatives, and
nothing is tested on the prompts it was fitted to.

Honest regimes differ (a batch of one runs other kernels than a batch of sixteen), and one answer can pass through
several as others come and go. So the null hypothesis is honest noise at its worst, cell by cell: the noisiest regime's
chance of a lost token, and no less than the upper bound of all together; the largest chance of any regime for published
numbers. Thresholds hold in the worst regime.
Facts of alternatives come from really running them.

The two numbers of a token have one noise: where the candidates differ much, so does the chosen token. As independent
surprises they would be believed twice. So each counts half: the geometric mean of two fair bets is a fair bet, however
they hang together (decision 077).

Smoothing: the chance of a lost token given the margin is Jeffreys' estimate, and the cells within a margin use it as
their prior. The prior of plain channels is half the pool of all sets, half the uniform distribution. So a cell that
nobody has seen says little.

Resampling is by sequence, because tokens of one answer are not independent: blocks of random answers, each from a
random token on, are joined (a block bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from p2p.verification.profile import (
    CHANNELS,
    LIKELIERS,
    MARGIN_EDGES,
    MARGINS,
    NUMBER_CHANNELS,
    SURES,
    UNDECIDED,
    Noise,
    Table,
    cells,
    mixture,
    ratios,
)
from p2p.verification.statistics import DECIDED, LEAD, beyond_rounding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
RATES_PPM = (10_000, 1000, 100)  # false alarms in a million answers
SMOOTH_PLAIN = 4.0  # pseudo-count (tokens) of the prior of plain channels
SMOOTH_HONEST = 30.0  # the same for an honest regime, whose prior is all honest answers
HALF = 0.5  # weight of each of the two numbers of a token
PRIOR_LOSSES = 2.0  # lost tokens that the prior of a chance is worth
JEFFREYS = 0.5  # pseudo-count of each outcome in Jeffreys' estimate of a probability
TOKEN_CLIP_MILLI = 6000  # milli-nats of one token in one channel, at most: bounded influence
ONE_CLIP_MILLI = 14_000  # the same for a single lie, where one token must be able to decide
TAIL_TOKENS = 40  # the deepest honest leads, to which the tail's decay is fitted
# nats; the tail is never steeper: the mean depth of lost tokens when one product in one layer rounds differently
# (decision 014)
TAIL_FLOOR = 0.05
BOUNDS, BOUND = 24, 0.9  # a threshold is this quantile of so many bootstrapped ones, for held-out data differ a little
NORMALISER_BOUND = 0.99  # quantile of the bootstrapped means of a normaliser
MOST_LOST = 0.999  # a chance of one has no opposite
UNKNOWN = "unknown"  # an alternative about which nothing is known: any numbers, tokens chosen without the tape
# alternatives that ignore or loosen masks: they take so many of the tokens that a mask forbids and the tape likes best
MASKLESS = {"maskless_03": 0.03, "maskless_25": 0.25, "maskless_90": 0.9}
CALM_PART = 0.01  # of that share, where the tape's best token outside the mask is not among the candidates
# alternatives: so many tokens without the tape
ARBITRARY = {"arbitrary_03": 0.03, "arbitrary_10": 0.10, "arbitrary_30": 0.30}


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of many answers."""

    values: Floats  # (tokens, 8), answer after answer
    lengths: tuple[int, ...]  # tokens of each answer

    def starts(self) -> Ints:
        """Row at which each answer begins, shape (answers,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)])[:-1].astype(np.int64)


def pool(parts: Sequence[Facts]) -> Facts:
    """All answers of several sets."""
    return Facts(np.concatenate([p.values for p in parts]), tuple(n for p in parts for n in p.lengths))


def _counts(facts: Facts, channel: str) -> Floats:
    """Tokens in each cell of a channel."""
    return np.bincount(cells(facts.values)[channel], minlength=CHANNELS[channel]).astype(np.float64)


def _plain(counts: Floats, pooled: Floats, weight: float = SMOOTH_PLAIN) -> Floats:
    """Smoothed probability of each cell of published numbers within its group. counts: of this set, pooled: of all sets
    that are its prior; both shape (cells,). weight: pseudo-count of the prior."""
    found, known = counts.reshape(SURES, -1), pooled.reshape(SURES, -1)
    prior = (known / np.maximum(known.sum(axis=1, keepdims=True), 1e-12) + 1 / found.shape[1]) / 2
    return np.asarray((found + weight * prior) / (found.sum(axis=1, keepdims=True) + weight)).reshape(-1)


def _replay(counts: Floats, others: Floats | None = None) -> Floats:
    """Smoothed probability of (kept, lost) given each (margin, likelier); pairs of cells sum to 1. others: counts of
    all sets of the same kind, the prior of a set that saw a cell rarely. Without it the smallest honest regime, which
    saw nothing, would look noisiest."""
    grid = _grid(counts)
    by_margin = grid.sum(axis=1)
    if others is None:
        lost = (by_margin[:, 1] + JEFFREYS) / (by_margin.sum(axis=1) + 2 * JEFFREYS)
    else:
        lost = _shrunk(by_margin, _chance_lost(others))
    return _as_pairs(_shrunk(grid, np.repeat(lost[:, None], LIKELIERS, axis=1)).reshape(-1))


def _shrunk(counts: Floats, prior: Floats) -> Floats:
    """Chance of a lost token: the mean of a Gamma distribution that begins at `prior` with PRIOR_LOSSES lost tokens. So
    a cell that lost none where one or two were to be expected is not taken for one that never loses. counts: (kept,
    lost) on the last axis."""
    found = (counts[..., 1] + PRIOR_LOSSES) / (counts.sum(axis=-1) + PRIOR_LOSSES / prior)
    return np.asarray(np.minimum(found, MOST_LOST))


def _grid(counts: Floats) -> Floats:
    """Counts of `replay` by (margin, likelier, lost), without those that say nothing."""
    return counts[:UNDECIDED].reshape(MARGINS, LIKELIERS, 2)


def _chance_lost(counts: Floats) -> Floats:
    """Honest chance of a lost token by margin, shape (MARGINS,), Jeffreys' estimate. The chance never grows with the
    margin, so the estimate over all smaller margins together is an upper bound; where tokens are hardly ever lost it is
    the better estimate."""
    by_margin = _grid(counts).sum(axis=1)
    nearer = np.cumsum(by_margin, axis=0)
    own, bound = ((c[:, 1] + JEFFREYS) / (c.sum(axis=1) + 2 * JEFFREYS) for c in (by_margin, nearer))
    return np.asarray(np.minimum(own, bound))


def fit_tables(
    regimes: Mapping[str, Facts], alternatives: Mapping[str, Facts], honest_numbers: frozenset[str],
    one_text: frozenset[str] = frozenset(),
) -> dict[str, Table]:
    """Log-likelihood ratios per alternative, channel and cell, in milli-nats. regimes: honest facts. honest_numbers:
    alternatives that publish the right model's numbers. one_text: regimes that hold the same texts many times over, so
    that they count for the choices at their positions and not for the numbers there."""
    tables: dict[str, Table] = {name: {} for name in (*alternatives, UNKNOWN, *ARBITRARY)}
    for channel in ("replay", *NUMBER_CHANNELS):
        own = {name: f for name, f in regimes.items() if channel == "replay" or name not in one_text} or regimes
        counts = {name: _counts(facts, channel) for name, facts in {**own, **alternatives}.items()}
        pooled = sum((c / max(c.sum(), 1.0) for c in counts.values()), np.zeros(CHANNELS[channel]))
        honest = sum((counts[name] for name in own), np.zeros(CHANNELS[channel]))
        if channel == "replay":
            chance = {name: _replay(c, honest if name in own else None) for name, c in counts.items()}
        else:
            chance = {
                name: _plain(c, honest, SMOOTH_HONEST) if name in own else _plain(c, pooled)
                for name, c in counts.items()
            }
        null = np.max([chance[name] for name in own], axis=0)  # no distribution, but in pairs of `replay`
        if channel == "replay":
            null = _as_pairs(np.maximum(null[1::2], _bounded(honest)))
        else:
            null = np.maximum(null, _bounded_numbers(honest))
        chance[UNKNOWN] = np.full(null.size, SURES / null.size) if channel != "replay" else chance["wrong_seed"]
        chance |= {name: share * chance["wrong_seed"] + (1 - share) * null for name, share in ARBITRARY.items()}
        for name, table in tables.items():
            if channel in NUMBER_CHANNELS and (name in honest_numbers or name in ARBITRARY):
                continue
            ratio = np.log(chance[name] / null)
            table[channel] = _milli(HALF * ratio if channel in NUMBER_CHANNELS else np.append(_one_sided(ratio), 0.0))
    tables |= {name: {"mask": _mask_table(regimes, share)} for name, share in MASKLESS.items()}
    return tables


def _milli(ratio: Floats) -> list[int]:
    return [int(x) for x in np.clip(np.round(1000 * ratio), -TOKEN_CLIP_MILLI, TOKEN_CLIP_MILLI)]


def _mask_table(regimes: Mapping[str, Facts], share: float) -> list[int]:
    """Milli-nats of each cell of `mask` for a host that takes the candidate outside the mask in `share` of the
    positions that tempt it. The honest chance of a token outside is an upper bound from all honest answers together;
    where too few had a mask to tell the two apart, the cells say nothing."""
    seen = sum((_counts(facts, "mask") for facts in regimes.values()), np.zeros(CHANNELS["mask"]))
    table = [0.0]
    for inside, outside, part in ((seen[1], seen[2], CALM_PART), (seen[3], seen[4], 1.0)):
        honest, cheating = upper_bound(int(outside), int(inside + outside)), share * part
        says = cheating > honest
        table += [np.log((1 - cheating) / (1 - honest)), np.log(cheating / honest)] if says else [0.0, 0.0]
    return _milli(np.array(table))


def upper_bound(seen: int, of: int) -> float:
    """The largest chance under which `seen` or fewer events in `of` trials have a probability of 5 % (Clopper and
    Pearson), by Poisson's distribution, which is never smaller; 1 at most."""
    low, high = 0.0, float(seen) + 10.0 + 5.0 * float(np.sqrt(seen + 1.0))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, seen + 1)))])  # ln k!
    for _ in range(60):
        middle = (low + high) / 2
        terms = np.arange(seen + 1) * np.log(max(middle, 1e-12)) - middle - logs
        low, high = (middle, high) if np.exp(terms).sum() > 0.05 else (low, middle)
    return min(high / of, 1.0) if of else 1.0


def _as_pairs(lost: Floats) -> Floats:
    """(kept, lost) of each cell, one after the other."""
    return np.stack([1 - lost, lost], axis=1).reshape(-1)


def _bounded(counts: Floats) -> Floats:
    """Upper bound (95 %) of the honest chance of a lost token by (margin, likelier), shape (MARGINS * LIKELIERS,), from
    all honest answers together: what was seen, raised by as much as the bound of its margin is above its estimate.
    Where honest tokens are hardly ever lost an estimate alone would call the next one a cheat."""
    by_margin = _grid(counts).sum(axis=1)
    nearer = np.cumsum(by_margin, axis=0)
    bounds = [[upper_bound(int(c[1]), int(c.sum())) for c in table] for table in (by_margin, nearer)]
    raised = np.min(bounds, axis=0) / _chance_lost(counts)
    return np.asarray(np.minimum(_replay(counts)[1::2] * np.repeat(np.maximum(raised, 1.0), LIKELIERS), MOST_LOST))


def _bounded_numbers(counts: Floats) -> Floats:
    """Upper bound (95 %) of the honest chance of each cell of published numbers within its group, shape (cells,)."""
    groups = counts.reshape(SURES, -1)
    return np.array([upper_bound(int(cell), int(group.sum())) for group in groups for cell in group])


def _one_sided(ratio: Floats) -> Floats:
    """A lost token never counts for honesty, and a kept one never against it. Most honest hosts are quieter than the
    worst, and must not look like an alternative that is quiet in some cell. ratio: pairs of (kept, lost), with opposite
    signs."""
    return np.where(np.repeat(ratio[1::2] > 0, 2), ratio, 0.0)


def fit_one_position(regimes: Mapping[str, Facts], arbitrary: Facts) -> list[int]:
    """Milli-nats by margin, for the hypothesis that a lost token was chosen without the tape. arbitrary: facts of
    answers under a wrong seed.

    Honest losses deeper than any that was seen have a chance too: the tail continues as an exponential through the
    TAIL_TOKENS deepest of the worst regime, decaying half as fast as they do. Down to the deepest margin that lost a
    token the chance is at least its upper bound from all honest answers together: a margin that happened to lose none
    between others that did is not one that never loses (decision 080).
    """
    other = _lost(_decided(arbitrary))
    null = np.zeros(MARGINS)
    for facts in regimes.values():
        leads = np.sort(_decided(facts))
        if not leads.size:
            continue
        seen = np.bincount(np.digitize(np.abs(leads), MARGIN_EDGES), minlength=MARGINS)
        below = np.array([_below(leads, -edge) for edge in (0.0, *MARGIN_EDGES)] + [0.0])
        null = np.maximum(null, -np.diff(below) * len(leads) / np.maximum(seen, 1))
    every = np.concatenate([_decided(facts) for facts in regimes.values()])
    margin = np.digitize(np.abs(every), MARGIN_EDGES)
    seen = np.bincount(margin, minlength=MARGINS)
    lost = np.bincount(margin[every < 0], minlength=MARGINS)
    bounds = np.array([upper_bound(int(k), int(n)) for k, n in zip(lost, seen, strict=True)])
    null = np.maximum(null, np.where(lost[::-1].cumsum()[::-1] > 0, bounds, 0.0))
    ratio = 1000 * np.log(other / np.maximum(null, 1e-12))
    return [int(x) for x in np.clip(np.round(ratio), -ONE_CLIP_MILLI, ONE_CLIP_MILLI)]


def _decided(facts: Facts) -> Floats:
    """Leads of the tokens of which something is said."""
    return np.asarray(facts.values[facts.values[:, DECIDED] > 0, LEAD])


def _lost(leads: Floats) -> Floats:
    """Share of lost tokens by margin, shape (MARGINS,), Jeffreys' estimate."""
    margin = np.digitize(np.abs(leads), MARGIN_EDGES)
    lost = np.bincount(margin, weights=(leads < 0).astype(float), minlength=MARGINS)
    return np.asarray((lost + JEFFREYS) / (np.bincount(margin, minlength=MARGINS) + 2 * JEFFREYS))


def _below(leads: Floats, edge: float) -> float:
    """Share of honest leads (ascending) below `edge` <= 0; beyond the deepest ones seen, by the exponential tail."""
    count = min(TAIL_TOKENS, int(np.searchsorted(leads, 0.0)) // 2 + 1)  # at most the deeper half of the lost tokens
    cut = min(float(leads[count - 1]), -1e-3)
    if edge >= cut:
        return max(float(np.searchsorted(leads, edge)), count) / len(leads)  # where none was lost, as if one had been
    decay = 2.0 * max(float((cut - np.minimum(leads[:count], cut)).mean()), TAIL_FLOOR)
    return count / len(leads) * float(np.exp((edge - cut) / decay))


class Resampler:
    """Resamples answers from facts under one profile. Running sums are computed once."""

    def __init__(self, noise: Noise, facts: Facts) -> None:
        self._lengths, self._starts = np.asarray(facts.lengths), facts.starts()
        broken = beyond_rounding(facts.values).astype(np.float64)
        self._sums = _running(np.column_stack([noise.likelihoods(facts.values), broken]))

    def ratios(self, tokens: int, times: int, rng: np.random.Generator, *, chosen: Ints | None = None) -> Floats:
        """Ratios in milli-nats of `times` resampled answers of `tokens` tokens each, shape (times,). chosen: indices of
        the answers to draw from; None: all."""
        return self.draw(tokens, times, rng, chosen=chosen)[0]

    def draw(
        self, tokens: int, times: int, rng: np.random.Generator, *, chosen: Ints | None = None
    ) -> tuple[Floats, Floats]:
        """As `ratios`, and how many tokens of each resampled answer the exact rule refuses (check.exact_rule)."""
        keep = np.flatnonzero(self._lengths > 0) if chosen is None else chosen
        total, left = np.zeros((times, self._sums.shape[1])), np.full(times, tokens)
        while (busy := np.flatnonzero(left > 0)).size:
            picked = rng.choice(keep, busy.size)
            begin = self._starts[picked] + np.floor(rng.random(busy.size) * self._lengths[picked]).astype(np.int64)
            size = np.minimum(self._starts[picked] + self._lengths[picked] - begin, left[busy])
            total[busy] += self._sums[begin + size] - self._sums[begin]
            left[busy] -= size
        return mixture(ratios(total[:, :-1], tokens)), total[:, -1]


def whole(noise: Noise, facts: Facts) -> Floats:
    """Ratio in milli-nats of every answer as it is, shape (answers,)."""
    sums, ends, lengths = _running(noise.likelihoods(facts.values)), np.cumsum(facts.lengths), np.asarray(facts.lengths)
    return np.array([
        mixture(ratios(row, int(n))) for row, n in zip(sums[ends] - sums[ends - lengths], lengths, strict=True)
    ])


def _running(values: Floats) -> Floats:
    """Sums of all rows before each, shape (tokens + 1, columns)."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def fit_thresholds(
    noise: Noise, regimes: Mapping[str, Facts], rng: np.random.Generator, times: int
) -> dict[int, list[tuple[int, int]]]:
    """Per rate (false alarms in a million), rising (tokens, milli-nats): the ratio that honest answers exceed no more
    often in the worst regime. Not the quantile that was seen but an upper bound (quantile BOUND of BOUNDS bootstrapped
    ones), and never below ln(1 / rate): for a likelihood ratio that alone keeps the rate (Markov's inequality), however
    few honest answers were seen."""
    found: dict[int, list[tuple[int, int]]] = {ppm: [] for ppm in RATES_PPM}
    samplers = {name: Resampler(noise, facts) for name, facts in regimes.items()}
    for tokens in GRID:
        first = {name: _quantiles(sampler.ratios(tokens, times // 4, rng)) for name, sampler in samplers.items()}
        worst = max(first, key=lambda name: float(first[name][1]))
        count = len(regimes[worst].lengths)
        draws = [rng.integers(0, count, count) for _ in range(BOUNDS)]
        seen = [_quantiles(samplers[worst].ratios(tokens, times // 4, rng, chosen=draw)) for draw in draws]
        limits = np.maximum(np.quantile(seen, BOUND, axis=0), np.max(list(first.values()), axis=0))
        for ppm, limit in zip(RATES_PPM, limits, strict=True):
            found[ppm].append((tokens, int(np.ceil(max(limit, 1000 * np.log(1e6 / ppm))))))
    return found


def _quantiles(sample: Floats) -> Floats:
    """What so many of a million exceed, for each of RATES_PPM."""
    return np.asarray(np.quantile(sample, [1 - ppm / 1e6 for ppm in RATES_PPM], method="higher"))


def fit_normaliser(
    noise: Noise, regimes: Mapping[str, Facts], cap_milli: int, rng: np.random.Generator, times: int = 400
) -> int:
    """Milli-nats to subtract from each answer's capped ratio, so that E[exp] <= 1 under the worst honest regime (99 %
    bootstrap bound)."""
    worst = 0.0
    for facts in regimes.values():
        values = np.exp(np.clip(whole(noise, facts), -cap_milli, cap_milli) / 1000.0)
        means = [rng.choice(values, values.size).mean() for _ in range(times)]
        worst = max(worst, float(np.quantile(means, NORMALISER_BOUND)))
    return max(int(np.ceil(1000 * np.log(worst))), 0) if worst > 0 else 0


def fit(
    regimes: Mapping[str, Facts], alternatives: Mapping[str, Facts], honest_numbers: frozenset[str], *, cap_milli: int,
    seed: int, times: int = 40_000, edge_milli: int = 0, lost_ppm: int = 0, one_text: frozenset[str] = frozenset()
) -> Noise:
    """Fit one pair of stacks: tables, thresholds, normaliser.

    regimes: honest facts by name. alternatives: facts by name, 'wrong_seed' at least. honest_numbers: alternatives that
    publish the right model's numbers. cap_milli: bound of an answer's ratio in the e-process. seed: of the resampling,
    kept in the profile's history. times: resampled answers per length; the rarest rate needs ten times its inverse.
    edge_milli: with which the facts were made. lost_ppm: as Noise says.
    one_text: as fit_tables says.
    """
    rng = np.random.default_rng(seed)
    tables = fit_tables(regimes, alternatives, honest_numbers, one_text)
    one = fit_one_position(regimes, alternatives["wrong_seed"])
    bare = Noise(tables, one, {}, 0, edge_milli, lost_ppm)
    limits = fit_thresholds(bare, regimes, rng, times)
    return replace(bare, thresholds=limits, normaliser_milli=fit_normaliser(bare, regimes, cap_milli, rng))
