"""From measured facts to a profile. Law: pure; everything that decides later is fitted here, from honest runs and alternatives of this
model's own, and nothing is judged by the prompts it was fitted on.

Honest regimes differ (a batch of one runs other kernels than a batch of sixteen), and one answer can pass through several as others come
and go. So the null is honest noise at its worst, cell by cell: the noisiest regime's chance of a lost token, the largest chance of any
regime for published numbers; and a threshold holds in the worst regime. Alternatives are sets of facts made by really running them.
Smoothing: the chance of a lost token given how far apart is Jeffreys' estimate, within it the cells borrow it; plain channels borrow half
from the pool, half from nothing known. A cell nobody has seen says little.
Resampling is by sequence (tokens of one answer are not independent): blocks of random answers, from a random place on, are put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p.verification.profile import APART_EDGES, APARTS, CHANNELS, LIKELIERS, NUMBER_CHANNELS, SURES, Noise, Table, cells, mixture, ratios
from p2p.verification.statistics import LEAD

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
RATES_PPM = (10_000, 1000, 100)
SMOOTH_PLAIN, SMOOTH_LIKELIER, SMOOTH_REGIME = 4.0, 12.0, 8.0  # pseudo-tokens
TOKEN_CLIP_MILLI = 6000  # one token's word in one channel: bounded influence
ONE_CLIP_MILLI = 14_000  # for a single lie one token must be able to speak
TAIL_TOKENS = 40  # deepest honest leads that the tail's decay is fitted to
TAIL_FLOOR = 0.05  # nats; never steeper: how deep tokens were lost on average when one product in one layer rounded otherwise (decision 014)
BOUNDS, BOUND = 24, 0.9  # thresholds are this quantile of so many bootstrapped ones: held-out data is never quite the same
UNKNOWN = "unknown"  # an alternative made of nothing known: any numbers, tokens without regard to the tape
ARBITRARY = {"arbitrary_03": 0.03, "arbitrary_10": 0.10, "arbitrary_30": 0.30}  # this share of tokens without regard to the tape


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of many answers: values (tokens, 6), in order; lengths of the answers."""

    values: Floats
    lengths: tuple[int, ...]

    def starts(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.lengths)])[:-1].astype(np.int64)


def pool(parts: Sequence[Facts]) -> Facts:
    return Facts(np.concatenate([p.values for p in parts]), tuple(n for p in parts for n in p.lengths))


def _counts(facts: Facts, channel: str) -> Floats:
    return np.bincount(cells(facts.values)[channel], minlength=CHANNELS[channel]).astype(np.float64)


def _plain(counts: Floats, pooled: Floats, groups: int) -> Floats:
    """Probability of each cell within its group (groups of equal size, one after the other)."""
    found, known = counts.reshape(groups, -1), pooled.reshape(groups, -1)
    prior = (known / np.maximum(known.sum(axis=1, keepdims=True), 1e-12) + 1 / found.shape[1]) / 2
    return np.asarray((found + SMOOTH_PLAIN * prior) / (found.sum(axis=1, keepdims=True) + SMOOTH_PLAIN)).reshape(-1)


def _replay(counts: Floats, others: Floats | None = None) -> Floats:
    """Probability of (kept, lost) given each (apart, likelier): pairs of cells sum to 1. others: counts of all that is of the same kind; a
    set that hardly saw a cell believes them, or the smallest honest regime, which saw nothing, would be the noisiest."""
    grid = counts.reshape(APARTS, LIKELIERS, 2)
    by_apart = grid.sum(axis=1)
    if others is None:
        lost = (by_apart[:, 1] + 0.5) / (by_apart.sum(axis=1) + 1.0)
    else:
        lost = (by_apart[:, 1] + SMOOTH_REGIME * _chance_lost(others)) / (by_apart.sum(axis=1) + SMOOTH_REGIME)
    within = (grid[:, :, 1] + SMOOTH_LIKELIER * lost[:, None]) / (grid.sum(axis=2) + SMOOTH_LIKELIER)
    return np.stack([1 - within, within], axis=2).reshape(-1)


def _chance_lost(counts: Floats) -> Floats:
    """Honest chance of a lost token by how far apart, Jeffreys' estimate. It never grows with the distance, so all nearer cells
    together bound it from above; where hardly any token is lost, they know more than the cell alone."""
    by_apart = counts.reshape(APARTS, LIKELIERS, 2).sum(axis=1)
    nearer = np.cumsum(by_apart, axis=0)
    own, bound = ((c[:, 1] + 0.5) / (c.sum(axis=1) + 1.0) for c in (by_apart, nearer))
    return np.asarray(np.minimum(own, bound))


def fit_tables(regimes: Mapping[str, Facts], alternatives: Mapping[str, Facts], honest_numbers: frozenset[str]) -> dict[str, Table]:
    """Log-likelihood ratios per alternative, channel and cell, milli-nats. honest_numbers: those that publish the right model's."""
    tables: dict[str, Table] = {name: {} for name in (*alternatives, UNKNOWN, *ARBITRARY)}
    for channel, size in CHANNELS.items():
        counts = {name: _counts(facts, channel) for name, facts in {**regimes, **alternatives}.items()}
        pooled = sum((c / max(c.sum(), 1.0) for c in counts.values()), np.zeros(size))
        groups = SURES if channel in NUMBER_CHANNELS else 1
        honest = sum((counts[name] for name in regimes), np.zeros(size))
        chance = {
            name: _replay(c, honest if name in regimes else None) if channel == "replay" else _plain(c, pooled, groups)
            for name, c in counts.items()
        }
        null = _worst([chance[name] for name in regimes], channel)
        chance[UNKNOWN] = np.full(size, groups / size) if channel in NUMBER_CHANNELS else chance["wrong_seed"]
        chance |= {name: share * chance["wrong_seed"] + (1 - share) * null for name, share in ARBITRARY.items()}
        for name, table in tables.items():
            if channel in NUMBER_CHANNELS and (name in honest_numbers or name in ARBITRARY):
                continue
            ratio = np.log(chance[name] / null)
            if channel not in NUMBER_CHANNELS:
                ratio = _one_sided(ratio, channel)
            table[channel] = [int(x) for x in np.clip(np.round(1000 * ratio), -TOKEN_CLIP_MILLI, TOKEN_CLIP_MILLI)]
    return tables


def _worst(honest: Sequence[Floats], channel: str) -> Floats:
    """Honest noise at its worst, cell by cell."""
    largest = np.max(honest, axis=0)
    if channel != "replay":
        return np.asarray(largest)
    lost = largest[1::2]
    return np.stack([1 - lost, lost], axis=1).reshape(-1)


def _one_sided(ratio: Floats, channel: str) -> Floats:
    """A lost token, or one outside the mask, never speaks for honesty, a kept one never against it: most honest hosts are quieter than
    the worst, and must not look like an alternative that is quiet in some corner."""
    if channel == "replay":
        return np.where(np.repeat(ratio[1::2] > 0, 2), ratio, 0.0)  # pairs of (kept, lost), whose signs are opposite
    inside = np.arange(len(ratio)) == 0
    return np.where(inside, np.minimum(ratio, 0.0), np.maximum(ratio, 0.0))


def fit_one_position(regimes: Mapping[str, Facts], arbitrary: Facts) -> list[int]:
    """Milli-nats by how far apart that a lost token was chosen without regard to the tape. arbitrary: answers seen under a wrong seed.

    Honest losses deeper than any that was seen still have a chance: the tail goes on as an exponential through the TAIL_TOKENS deepest
    of the worst regime, twice as slowly as they fall.
    """
    other = _lost(arbitrary.values[:, LEAD])
    null = np.zeros(APARTS)
    for facts in regimes.values():
        leads = np.sort(facts.values[:, LEAD])
        apart = np.bincount(np.digitize(np.abs(leads), APART_EDGES), minlength=APARTS)
        below = np.array([_below(leads, -edge) for edge in (0.0, *APART_EDGES)] + [0.0])
        null = np.maximum(null, -np.diff(below) * len(leads) / np.maximum(apart, 1))
    ratio = 1000 * np.log(other / np.maximum(null, 1e-12))
    return [int(x) for x in np.clip(np.round(ratio), -ONE_CLIP_MILLI, ONE_CLIP_MILLI)]


def _lost(leads: Floats) -> Floats:
    """Share of lost tokens by how far apart, Jeffreys' estimate."""
    apart = np.digitize(np.abs(leads), APART_EDGES)
    lost = np.bincount(apart, weights=(leads < 0).astype(float), minlength=APARTS)
    return np.asarray((lost + 0.5) / (np.bincount(apart, minlength=APARTS) + 1.0))


def _below(leads: Floats, edge: float) -> float:
    """Share of honest leads (ascending) below `edge` <= 0; under the deepest ones, by the tail."""
    count = min(TAIL_TOKENS, int(np.searchsorted(leads, 0.0)) // 2 + 1)  # of the lost ones, the deeper half
    cut = min(float(leads[count - 1]), -1e-3)
    if edge >= cut:
        return max(float(np.searchsorted(leads, edge)), count) / len(leads)  # where none was lost, one more would have been
    decay = 2.0 * max(float((cut - np.minimum(leads[:count], cut)).mean()), TAIL_FLOOR)
    return count / len(leads) * float(np.exp((edge - cut) / decay))


class Resampler:
    """Resampled answers of some facts under one profile; what does not change between lengths is computed once."""

    def __init__(self, noise: Noise, facts: Facts) -> None:
        self._lengths, self._starts = np.asarray(facts.lengths), facts.starts()
        self._sums = _running(noise.likelihoods(facts.values))

    def ratios(self, tokens: int, times: int, rng: np.random.Generator, *, chosen: Ints | None = None) -> Floats:
        """Ratio (milli-nats) of `times` answers of `tokens` tokens each. chosen: answers to draw from (all when None)."""
        keep = np.flatnonzero(self._lengths > 0) if chosen is None else chosen
        total, left = np.zeros((times, self._sums.shape[1])), np.full(times, tokens)
        while (busy := np.flatnonzero(left > 0)).size:
            picked = rng.choice(keep, busy.size)
            begin = self._starts[picked] + np.floor(rng.random(busy.size) * self._lengths[picked]).astype(np.int64)
            size = np.minimum(self._starts[picked] + self._lengths[picked] - begin, left[busy])
            total[busy] += self._sums[begin + size] - self._sums[begin]
            left[busy] -= size
        return mixture(ratios(total, tokens))


def whole(noise: Noise, facts: Facts) -> Floats:
    """Ratio (milli-nats) of every answer as it is."""
    sums, ends, lengths = _running(noise.likelihoods(facts.values)), np.cumsum(facts.lengths), np.asarray(facts.lengths)
    return np.array([
        mixture(ratios(row, int(n))) for row, n in zip(sums[ends] - sums[ends - lengths], lengths, strict=True)
    ])


def _running(values: Floats) -> Floats:
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def fit_thresholds(noise: Noise, regimes: Mapping[str, Facts], rng: np.random.Generator, times: int) -> dict[int, list[tuple[int, int]]]:
    """Per rate, the ratio that honest answers of each length exceed no more often, in the worst regime; not the quantile that was seen
    but an upper bound of it (answers resampled BOUNDS times). Never below ln(1 / rate): for a likelihood ratio that alone keeps the rate
    (Markov's inequality), however few honest answers were seen."""
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
    return np.asarray(np.quantile(sample, [1 - ppm / 1e6 for ppm in RATES_PPM], method="higher"))


def fit_normaliser(noise: Noise, regimes: Mapping[str, Facts], cap_milli: int, rng: np.random.Generator, times: int = 400) -> int:
    """Milli-nats to take from each answer's capped ratio so that E[exp] <= 1 under the worst honest regime (99 % bootstrap bound)."""
    worst = 0.0
    for facts in regimes.values():
        values = np.exp(np.clip(whole(noise, facts), -cap_milli, cap_milli) / 1000.0)
        means = [rng.choice(values, values.size).mean() for _ in range(times)]
        worst = max(worst, float(np.quantile(means, 0.99)))
    return max(int(np.ceil(1000 * np.log(worst))), 0) if worst > 0 else 0


def fit(
    regimes: Mapping[str, Facts], alternatives: Mapping[str, Facts], honest_numbers: frozenset[str], *, cap_milli: int, seed: int, times: int = 40_000
) -> Noise:
    """One pair of stacks: tables, thresholds, normaliser. alternatives holds 'wrong_seed' at least.

    seed: of the resampling, kept in the profile's history. times: resampled answers per length; the rarest rate needs ten times its inverse.
    """
    rng = np.random.default_rng(seed)
    tables, one = fit_tables(regimes, alternatives, honest_numbers), fit_one_position(regimes, alternatives["wrong_seed"])
    bare = Noise(tables, one, {}, 0)
    return Noise(tables, one, fit_thresholds(bare, regimes, rng, times), fit_normaliser(bare, regimes, cap_milli, rng))
