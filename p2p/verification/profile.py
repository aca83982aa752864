"""A calibration profile: what honest noise looks like for one model, and what each alternative would. Law: data with its own history;
thresholds come from it and the wanted false-alarm rate, never from constants in code.

A token's facts fall into cells; each alternative (a way of not running the model) has a log-likelihood ratio per cell, in whole
milli-nats, against honest noise at its worst (calibration.py). The replay channel is conditional: given how far apart best and second are,
and how likely each is, was the best one taken? So the prompt, the temperature and the masks, which only change how often candidates are
close, cancel out; likewise what is published is compared given how sure the model is. Laundered alternatives have no say about published
numbers. Sums over the tokens of an answer give one ratio per alternative; their equal-weight mixture is the answer's.
One alternative is of another kind: a single position that is a lie (a forged end, a suppressed one) in an otherwise honest answer. Its
ratio is the mean, not the product, of its tokens' ratios: each position is as likely as any other to be the one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.base.errors import ConfigError, unsupported_version
from p2p.verification.statistics import CHOSEN, DISTANCE, EXCESS, GAP, LEAD, SURE

PROFILE_VERSION = 2
KERNELS_MARK = "#"  # between a stack's family and its kernels: inference/kernels.py
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# edges of the cells, nats: finest where honest noise lives
APART_EDGES = (0.008, 0.02, 0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0, 2.0)  # |lead|: between the best under the tape and the second
LIKELIER_EDGES = (-3.0, -1.2, -0.4, 0.4, 1.2, 3.0)  # log p(best) - log p(second): negative where the noise decided against the likelier one
NUMBER_EDGES = (0.004, 0.008, 0.012, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4, 0.6, 0.9, 1.4, 2.2)
SURE_EDGES = (-1.2, -0.5, -0.15, -0.03)  # log p of the likeliest token
EXCESS_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
APARTS, LIKELIERS, NUMBERS, SURES = (len(edges) + 1 for edges in (APART_EDGES, LIKELIER_EDGES, NUMBER_EDGES, SURE_EDGES))
CHANNELS = {
    "replay": APARTS * LIKELIERS * 2, "excess": len(EXCESS_EDGES) + 1,
    "distance": SURES * NUMBERS, "chosen": SURES * NUMBERS,
}
NUMBER_CHANNELS = ("distance", "chosen")
Table = dict[str, list[int]]


def cells(facts: Floats) -> dict[str, Ints]:
    """Cell of every token in each channel; facts as statistics.answer_facts gives them. Replay: (apart, likelier, lost).
    Published numbers: (sure, how far off)."""
    sure = np.digitize(facts[:, SURE], SURE_EDGES) * NUMBERS
    lead, lost = facts[:, LEAD], facts[:, LEAD] < 0
    likelier = np.where(lost, facts[:, GAP], -facts[:, GAP])
    place = np.digitize(np.abs(lead), APART_EDGES) * LIKELIERS + np.digitize(likelier, LIKELIER_EDGES)
    return {
        "replay": (place * 2 + lost).astype(np.int64),
        "excess": np.digitize(facts[:, EXCESS], EXCESS_EDGES, right=True).astype(np.int64),
        "distance": sure + np.digitize(facts[:, DISTANCE], NUMBER_EDGES).astype(np.int64),
        "chosen": sure + np.digitize(facts[:, CHOSEN], NUMBER_EDGES).astype(np.int64),
    }


@dataclass(frozen=True, slots=True)
class Noise:
    """One pair of stacks. tables: alternative -> channel -> milli-nats per cell (a channel left out has no say).

    one_position: milli-nats by how far apart (lost tokens only), for the single lie. thresholds: false alarms in a million -> rising
    (tokens, milli-nats). normaliser_milli: taken from an answer's ratio before it enters the epoch's e-process, so that its mean under
    honest noise is at most 1.
    """

    tables: dict[str, Table]
    one_position: list[int]
    thresholds: dict[int, list[tuple[int, int]]]
    normaliser_milli: int

    def names(self) -> list[str]:
        """The alternatives, in the order of `ratios`."""
        return [*sorted(self.tables), "one_position"]

    def likelihoods(self, facts: Floats) -> Floats:
        """What adds up over tokens: milli-nats of each alternative, and the bare ratio (no logarithm) of a single lie in the last
        column. Shape (tokens, alternatives + 1)."""
        where = cells(facts)
        columns = []
        for name in sorted(self.tables):
            parts = (np.asarray(table, dtype=np.float64)[where[channel]] for channel, table in self.tables[name].items())
            columns.append(sum(parts, np.zeros(len(facts))))
        lost, apart = where["replay"] % 2, where["replay"] // 2 // LIKELIERS
        columns.append(np.where(lost, np.exp(np.asarray(self.one_position)[apart] / 1000.0), 1.0))
        return np.stack(columns, axis=1)

    def threshold_milli(self, tokens: int, ppm: int) -> int:
        """The ratio that `ppm` of a million honest answers of so many tokens exceed at most; between grid points the higher one."""
        if ppm not in self.thresholds:
            raise ConfigError(f"the profile has thresholds for {sorted(self.thresholds)} false alarms in a million, not {ppm}", field="ppm")
        table = self.thresholds[ppm]
        at = next((i for i, (n, _) in enumerate(table) if n >= tokens), len(table) - 1)
        return max(table[max(at - 1, 0)][1], table[at][1])


def ratios(sums: Floats, tokens: int) -> Floats:
    """Sums of `likelihoods` over `tokens` tokens, shape (..., alternatives + 1) -> milli-nats of each alternative, same shape."""
    result = np.array(sums, dtype=np.float64)
    result[..., -1] = 1000.0 * np.log(np.maximum(result[..., -1], 1e-30) / max(tokens, 1))
    return result


def mixture(each: Floats) -> Floats:
    """All alternatives together, with equal weights: milli-nats over the last axis."""
    top = each.max(axis=-1, keepdims=True)
    result: Floats = top[..., 0] + 1000.0 * np.log(np.exp((each - top) / 1000.0).mean(axis=-1))
    return result


@dataclass(frozen=True, slots=True)
class Profile:
    """pairs: 'executor stack>validator stack' -> Noise; a stack without a mark of its kernels stands for all of its family. made: how,
    with what, when: read by people. exact_context: tokens of prompt and answer up to which kernels with a name gave the same bits in decode
    and prefill; attention over more is cut in other pieces."""

    model: str
    weights_hash: str
    made: dict[str, Any]
    reveal_tolerance_milli: int
    pairs: dict[str, Noise]
    exact_context: int = 0

    def equal(self, executor: str, validator: str, *, context: int) -> bool:
        """Whether both compute with the same kernels, and these were seen to give the same bits in answers of such a context."""
        return KERNELS_MARK in executor and executor == validator and f"{executor}>{validator}" in self.pairs and context <= self.exact_context

    def noise(self, executor: str, validator: str, *, context: int = 0) -> Noise:
        """The noise of these kernels, else of their families; an uncalibrated pair is a ConfigError: calibrate it, never guess.

        context: tokens of prompt and answer.
        """
        executor = family(executor) if context > self.exact_context else executor
        found = self.pairs.get(f"{executor}>{validator}") or self.pairs.get(f"{family(executor)}>{family(validator)}")
        if found is None:
            raise ConfigError(f"no calibration for {executor} checked by {validator}; run: folkmoot calibrate", field="profile")
        return found

    def knows(self, executor: str) -> bool:
        """Whether some validator could check this stack's answers."""
        named = {name.partition(">")[0] for name in self.pairs}
        return executor in named or family(executor) in named

    def to_json(self) -> str:
        body = {
            "version": PROFILE_VERSION, "model": self.model, "weights_hash": self.weights_hash, "made": self.made,
            "reveal_tolerance_milli": self.reveal_tolerance_milli, "exact_context": self.exact_context,
            "pairs": {
                name: {
                    "tables": n.tables, "one_position": n.one_position,
                    "thresholds": {str(ppm): rows for ppm, rows in n.thresholds.items()},
                    "normaliser_milli": n.normaliser_milli,
                }
                for name, n in sorted(self.pairs.items())
            },
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"

    def hash(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def family(stack: str) -> str:
    """A stack's name without its kernels."""
    return stack.partition(KERNELS_MARK)[0]


def parse(text: str) -> Profile:
    """Raises ConfigError naming the field: version, shape."""
    try:
        body = json.loads(text)
        if body["version"] != PROFILE_VERSION:
            raise ConfigError(f"{unsupported_version('profile', body['version'], PROFILE_VERSION)}; calibrate again", field="version")
        pairs = {str(name): _noise(pair) for name, pair in body["pairs"].items()}
        tolerance, exact = int(body["reveal_tolerance_milli"]), int(body["exact_context"])
        return Profile(str(body["model"]), str(body["weights_hash"]), dict(body["made"]), tolerance, pairs, exact)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a calibration profile: {type(error).__name__} {error}", field="profile") from error


def _noise(pair: dict[str, Any]) -> Noise:
    tables = _tables(pair["tables"])
    one_position = [int(x) for x in pair["one_position"]]
    if len(one_position) != APARTS:
        raise ValueError(f"one_position has {len(one_position)} cells")
    thresholds = {int(rate): [(int(n), int(t)) for n, t in rows] for rate, rows in pair["thresholds"].items()}
    if not all(rows and rows == sorted(rows) for rows in thresholds.values()):
        raise ValueError("thresholds are not in order of tokens")
    return Noise(tables, one_position, thresholds, int(pair["normaliser_milli"]))


def _tables(found: dict[str, Any]) -> dict[str, Table]:
    tables = {str(name): {str(channel): [int(x) for x in t] for channel, t in channels.items()} for name, channels in found.items()}
    for channels in tables.values():
        for channel, table in channels.items():
            if len(table) != CHANNELS[channel]:
                raise ValueError(f"channel {channel} has {len(table)} cells")
    if not tables:
        raise ValueError("no alternatives")
    return tables


def load(path: Path) -> Profile:
    """A profile file. Raises ConfigError."""
    try:
        return parse(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error}", field="profile") from error


def shipped(model: str) -> Profile | None:
    """The profile that comes with this program for `model`, if any."""
    path = Path(__file__).parent / "profiles" / f"{model}.json"
    return load(path) if path.exists() and "/" not in model else None
