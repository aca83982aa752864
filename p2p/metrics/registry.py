"""Metrics as typed values, and their text for Prometheus.

Law: every series exists from the start, at zero, and no label has a value that is not named in its metric. So an alert
never waits for a series that has not happened yet, and nobody who asks can make this process hold more series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"  # a label's value for all that is not named, where its metric has it
Labels = tuple[str, ...]


class Kind(StrEnum):
    COUNTER = "counter"  # only grows; its name ends in _total
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A metric: its name, what it says, and every value that its labels may have."""

    name: str
    kind: Kind
    says: str  # one sentence, for the table and for Prometheus
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buckets: tuple[float, ...] = ()  # of a histogram, ascending

    def series(self) -> Iterator[Labels]:
        """The values of its labels, all combinations."""
        return product(*(values for _, values in self.labels))


def counter(name: str, says: str, **labels: tuple[str, ...]) -> Named:
    assert name.endswith("_total"), name
    return Named(name, Kind.COUNTER, says, tuple(labels.items()))


def gauge(name: str, says: str, **labels: tuple[str, ...]) -> Named:
    return Named(name, Kind.GAUGE, says, tuple(labels.items()))


def histogram(name: str, says: str, buckets: tuple[float, ...], **labels: tuple[str, ...]) -> Named:
    assert list(buckets) == sorted(buckets)
    return Named(name, Kind.HISTOGRAM, says, tuple(labels.items()), buckets)


@dataclass(slots=True)
class _Observed:
    counts: list[int]
    sum: float = 0.0


@dataclass(slots=True)
class Registry:
    """The metrics of one process."""

    metrics: tuple[Named, ...]
    # called before each text, to set what others count; a fault in one is a fault of the text, not of the peer
    before: list[Callable[[], None]] = field(default_factory=list)
    _values: dict[Named, dict[Labels, float]] = field(default_factory=dict)
    _observed: dict[Named, dict[Labels, _Observed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for metric in self.metrics:
            self._begin(metric)

    def _begin(self, metric: Named) -> None:
        if metric.kind is Kind.HISTOGRAM:
            empty = len(metric.buckets) + 1
            self._observed[metric] = {labels: _Observed([0] * empty) for labels in metric.series()}
        else:
            self._values[metric] = dict.fromkeys(metric.series(), 0.0)

    def extend(self, metrics: Iterable[Named]) -> None:
        """More metrics of the same process."""
        for metric in metrics:
            if metric not in self.metrics:
                self.metrics += (metric,)
                self._begin(metric)

    def add(self, metric: Named, *labels: str, by: float = 1.0) -> None:
        """Count something. Raises KeyError for a label's value that the metric does not name."""
        self._values[metric][self._known(metric, labels)] += by

    def set(self, metric: Named, value: float, *labels: str) -> None:
        """What it is now; of a counter, the total that others keep."""
        self._values[metric][self._known(metric, labels)] = float(value)

    def observe(self, metric: Named, value: float, *labels: str) -> None:
        """One measurement for a histogram."""
        found = self._observed[metric][self._known(metric, labels)]
        found.sum += value
        at = next((at for at, most in enumerate(metric.buckets) if value <= most), len(metric.buckets))
        found.counts[at] += 1

    def value(self, metric: Named, *labels: str) -> float:
        """Of a counter or gauge; of a histogram, how many measurements."""
        if metric.kind is Kind.HISTOGRAM:
            return float(sum(self._observed[metric][labels].counts))
        return self._values[metric][labels]

    @staticmethod
    def _known(metric: Named, labels: Labels) -> Labels:
        """`labels`, with OTHER for a value that is not named."""
        if len(labels) != len(metric.labels):
            raise KeyError(f"{metric.name} has {len(metric.labels)} labels")
        return tuple(
            value if value in values or OTHER not in values else OTHER
            for value, (_, values) in zip(labels, metric.labels, strict=True)
        )

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        for fill in self.before:
            fill()
        whole = CollectorRegistry(auto_describe=False)
        whole.register(_Families(self))
        return generate_latest(whole)

    def families(self) -> Iterator[Metric]:
        for metric in self.metrics:
            names = [name for name, _ in metric.labels]
            if metric.kind is Kind.HISTOGRAM:
                found = HistogramMetricFamily(metric.name, metric.says, labels=names)
                for labels, seen in self._observed[metric].items():
                    so_far, buckets = 0, []
                    for most, count in zip((*map(str, metric.buckets), "+Inf"), seen.counts, strict=True):
                        so_far += count
                        buckets.append((most, float(so_far)))
                    found.add_metric(list(labels), buckets, seen.sum)
                yield found
                continue
            kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            plain = kind(metric.name, metric.says, labels=names)
            for labels, value in self._values[metric].items():
                plain.add_metric(list(labels), value)
            yield plain


class _Families(Collector):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        return self._registry.families()
