"""A calibration profile: what honest noise looks like for one model, and what each alternative would look like.

Law: data with its own history. Thresholds follow from it and the wanted rate of false alarms, never from constants in
code.

A token's facts (statistics.py) fall into cells. Each alternative, a way of not running the model, has a log-likelihood
ratio per cell against honest noise at its worst (calibration.py), in whole milli-nats. Sums over an answer's tokens
give one ratio per alternative; their mixture with equal weights is the answer's ratio.

The channel `replay` is conditional: given the margin between the best and the second candidate and how likely each is,
was the best one taken? So the prompt, the temperature and the masks, which only change how often candidates are close,
cancel out. In the same way published numbers are compared given how sure the model is. An alternative that publishes
honest numbers (laundering) does not use the channels of published numbers.

One alternative is of another kind: a single position that is a lie (a forged end, a suppressed one) in an otherwise
honest answer. Its ratio is the mean of its tokens' ratios instead of their product, for each position is as likely as
any other.

The channel `mask` counts tokens outside the mask that was asked for, at positions where the mask decides (`tempted`)
and at others; its alternatives are hosts that ignore or loosen the mask. A token whose verdict hangs on the edge of a
mask is in no cell of `replay` or `mask` that says anything.
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
from p2p.verification.statistics import CHOSEN, DECIDED, DISTANCE, EXCESS, GAP, LEAD, ROUNDING, SURE, TEMPTED

PROFILE_VERSION = 3
KERNELS_MARK = "#"  # in a stack's name, between its family and its kernels (inference/stack/kernels.py)
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# edges of the cells, in nats; finest where honest noise lies
# |lead|: margin between the best candidate under the tape and the second
MARGIN_EDGES = (0.008, 0.02, 0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0, 2.0)
# log p(best) - log p(second); negative where the tape's noise decided against the likelier one
LIKELIER_EDGES = (-3.0, -1.2, -0.4, 0.4, 1.2, 3.0)
# distance and chosen
NUMBER_EDGES = (
    0.004, 0.008, 0.012, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4, 0.6, 0.9,
    1.4, 2.2
)
SURE_EDGES = (-1.2, -0.5, -0.15, -0.03)  # log p of the likeliest token
MARGINS, LIKELIERS, NUMBERS, SURES = (
    len(edges) + 1 for edges in (MARGIN_EDGES, LIKELIER_EDGES, NUMBER_EDGES, SURE_EDGES)
)
UNDECIDED = MARGINS * LIKELIERS * 2  # cell of `replay` for tokens of which nothing is said
MASK_CELLS = ("nothing masked", "calm, inside", "calm, outside", "tempted, inside", "tempted, outside")
CHANNELS = {
    "replay": UNDECIDED + 1, "mask": len(MASK_CELLS),
    "distance": SURES * NUMBERS, "chosen": SURES * NUMBERS,
}
NUMBER_CHANNELS = ("distance", "chosen")
Table = dict[str, list[int]]  # channel -> milli-nats of each cell


def cells(facts: Floats) -> dict[str, Ints]:
    """The cell of every token in each channel. facts: as statistics.answer_facts returns them, shape (tokens, 8).

    Returns int64 of shape (tokens,) per channel. Cells of `replay` are numbered by (margin, likelier, lost), those of
    `mask` as MASK_CELLS, those of published numbers by (sure, size of the difference).
    """
    sure = np.digitize(facts[:, SURE], SURE_EDGES) * NUMBERS
    lead, lost = facts[:, LEAD], facts[:, LEAD] < 0
    likelier = np.where(lost, facts[:, GAP], -facts[:, GAP])
    place = np.digitize(np.abs(lead), MARGIN_EDGES) * LIKELIERS + np.digitize(likelier, LIKELIER_EDGES)
    tempted, outside = facts[:, TEMPTED], facts[:, EXCESS] > 0
    return {
        "replay": np.where(facts[:, DECIDED] > 0, place * 2 + lost, UNDECIDED).astype(np.int64),
        "mask": np.where(tempted < 0, 0, 1 + 2 * (tempted > 0) + outside).astype(np.int64),
        "distance": sure + np.digitize(facts[:, DISTANCE], NUMBER_EDGES).astype(np.int64),
        "chosen": sure + np.digitize(facts[:, CHOSEN], NUMBER_EDGES).astype(np.int64),
    }


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of one pair of stacks: an executor's and a validator's."""

    tables: dict[str, Table]  # by alternative; a channel that is left out does not count
    one_position: list[int]  # milli-nats by margin, for lost tokens: the alternative of a single lie
    thresholds: dict[int, list[tuple[int, int]]]  # false alarms in a million -> rising (tokens, milli-nats)
    # subtracted from an answer's ratio for the epoch's e-process: its honest mean is then at most 1
    normaliser_milli: int
    # thousandths of a nat from the edge of a mask within which the two stacks may differ about a token
    edge_milli: int = 0
    # of equal kernels: tokens in a million that lose by more than rounding, at most (95 %); 0: not measured
    lost_ppm: int = 0

    @property
    def edge(self) -> float:
        """Nats, for statistics.answer_facts."""
        return max(self.edge_milli / 1000.0, ROUNDING)

    def names(self) -> list[str]:
        """The alternatives, in the order of `ratios`."""
        return [*sorted(self.tables), "one_position"]

    def likelihoods(self, facts: Floats) -> Floats:
        """What adds up over tokens, shape (tokens, alternatives + 1): milli-nats of each alternative, in the order of
        `names`. The last column is the ratio itself, not its logarithm, of a single lie. facts: shape (tokens, 8)."""
        where = cells(facts)
        columns = []
        for name in sorted(self.tables):
            tables = self.tables[name].items()
            parts = (np.asarray(table, dtype=np.float64)[where[channel]] for channel, table in tables)
            columns.append(sum(parts, np.zeros(len(facts))))
        lost, margin = where["replay"] % 2, np.minimum(where["replay"] // 2 // LIKELIERS, MARGINS - 1)
        columns.append(np.where(lost, np.exp(np.asarray(self.one_position)[margin] / 1000.0), 1.0))
        return np.stack(columns, axis=1)

    def threshold_milli(self, tokens: int, ppm: int) -> int:
        """The ratio, in milli-nats, that at most `ppm` in a million honest answers of so many tokens exceed; between
        two points of the grid the higher one. Raises ConfigError for a rate that the profile does not have."""
        if ppm not in self.thresholds:
            raise ConfigError(
                f"the profile has thresholds for {sorted(self.thresholds)} false alarms in a million, not {ppm}",
                field="ppm"
            )
        table = self.thresholds[ppm]
        at = next((i for i, (n, _) in enumerate(table) if n >= tokens), len(table) - 1)
        return max(table[max(at - 1, 0)][1], table[at][1])


def ratios(sums: Floats, tokens: int) -> Floats:
    """Sums of `likelihoods` over `tokens` tokens, shape (..., alternatives + 1) -> milli-nats per alternative, same
    shape."""
    result = np.array(sums, dtype=np.float64)
    result[..., -1] = 1000.0 * np.log(np.maximum(result[..., -1], 1e-30) / max(tokens, 1))
    return result


def mixture(each: Floats) -> Floats:
    """The mixture of all alternatives with equal weights: milli-nats, over the last axis of `each`."""
    top = each.max(axis=-1, keepdims=True)
    result: Floats = top[..., 0] + 1000.0 * np.log(np.exp((each - top) / 1000.0).mean(axis=-1))
    return result


@dataclass(frozen=True, slots=True)
class Profile:
    """The calibration of one model."""

    model: str
    weights_hash: str
    made: dict[str, Any]  # how, with what and when: for people
    reveal_tolerance_milli: int  # milli-nats by which two validators' revealed numbers may differ
    pairs: dict[str, Noise]  # 'executor stack>validator stack'; a name without kernels stands for all of its family
    # tokens of prompt and answer up to which decode and prefill of one named kernel gave the same bits; attention over
    # more is
    # computed in other pieces
    exact_context: int = 0

    def equal(self, executor: str, validator: str, *, context: int) -> bool:
        """Whether both compute with the same kernels, which were seen to give the same bits in answers of this context
        (tokens of prompt and answer)."""
        same = KERNELS_MARK in executor and executor == validator
        return same and f"{executor}>{validator}" in self.pairs and context <= self.exact_context

    def noise(self, executor: str, validator: str, *, context: int = 0) -> Noise:
        """The noise of these kernels, else of their families. context: tokens of prompt and answer. Raises ConfigError
        for a pair that is not calibrated: nothing is guessed."""
        executor = family(executor) if context > self.exact_context else executor
        found = self.pairs.get(f"{executor}>{validator}") or self.pairs.get(f"{family(executor)}>{family(validator)}")
        if found is None:
            pair = f"{executor} checked by {validator}"
            raise ConfigError(f"no calibration for {pair}; run: folkmoot calibrate", field="profile")
        return found

    def knows(self, executor: str) -> bool:
        """Whether some validator's stack is calibrated for this executor's answers."""
        named = {name.partition(">")[0] for name in self.pairs}
        return executor in named or family(executor) in named

    def to_json(self) -> str:
        """Canonical text: equal profiles give equal bytes."""
        body = {
            "version": PROFILE_VERSION, "model": self.model, "weights_hash": self.weights_hash, "made": self.made,
            "reveal_tolerance_milli": self.reveal_tolerance_milli, "exact_context": self.exact_context,
            "pairs": {
                name: {
                    "tables": n.tables, "one_position": n.one_position,
                    "thresholds": {str(ppm): rows for ppm, rows in n.thresholds.items()},
                    "normaliser_milli": n.normaliser_milli, "edge_milli": n.edge_milli, "lost_ppm": n.lost_ppm,
                }
                for name, n in sorted(self.pairs.items())
            },
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"

    def hash(self) -> str:
        """SHA-256 of the canonical text, in hex: what a model's registry entry names."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def family(stack: str) -> str:
    """A stack's name without its kernels."""
    return stack.partition(KERNELS_MARK)[0]


def parse(text: str) -> Profile:
    """From canonical or other JSON. Raises ConfigError naming the field: version, profile."""
    try:
        body = json.loads(text)
        if body["version"] != PROFILE_VERSION:
            raise ConfigError(
                f"{unsupported_version('profile', body['version'], PROFILE_VERSION)}; calibrate again", field="version"
            )
        pairs = {str(name): _noise(pair) for name, pair in body["pairs"].items()}
        tolerance, exact = int(body["reveal_tolerance_milli"]), int(body["exact_context"])
        return Profile(str(body["model"]), str(body["weights_hash"]), dict(body["made"]), tolerance, pairs, exact)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a calibration profile: {type(error).__name__} {error}", field="profile") from error


def _noise(pair: dict[str, Any]) -> Noise:
    tables = _tables(pair["tables"])
    one_position = [int(x) for x in pair["one_position"]]
    if len(one_position) != MARGINS:
        raise ValueError(f"one_position has {len(one_position)} cells")
    thresholds = {int(rate): [(int(n), int(t)) for n, t in rows] for rate, rows in pair["thresholds"].items()}
    if not all(rows and rows == sorted(rows) for rows in thresholds.values()):
        raise ValueError("thresholds are not in order of tokens")
    edge, lost = int(pair["edge_milli"]), int(pair["lost_ppm"])
    if not (0 <= edge <= 5000 and 0 <= lost <= 1_000_000):
        raise ValueError(f"edge_milli {edge} or lost_ppm {lost} is out of range")
    return Noise(tables, one_position, thresholds, int(pair["normaliser_milli"]), edge, lost)


def _tables(found: dict[str, Any]) -> dict[str, Table]:
    tables = {
        str(name): {str(channel): [int(x) for x in table] for channel, table in channels.items()}
        for name, channels in found.items()
    }
    for channels in tables.values():
        for channel, table in channels.items():
            if len(table) != CHANNELS[channel]:
                raise ValueError(f"channel {channel} has {len(table)} cells")
    if not tables:
        raise ValueError("no alternatives")
    return tables


def load(path: Path) -> Profile:
    """A profile file. Raises ConfigError if it cannot be read or is none."""
    try:
        return parse(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error}", field="profile") from error


def shipped(model: str) -> Profile | None:
    """The profile that comes with this program for `model`, or None."""
    path = Path(__file__).parent / "profiles" / f"{model}.json"
    return load(path) if path.exists() and "/" not in model else None
