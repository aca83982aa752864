"""What an engine says of its load, read from the text of its /metrics.

Law: bounded and tolerant. What is missing, malformed or absurd is not known; no text raises or takes long.

The names are those of vLLM 0.32 (v1/metrics/loggers.py). With several data-parallel engines behind one URL each has
lines of its own, which are added up. `cache_config_info` carries settings as labels: `kv_cache_size_tokens` where vLLM
computed the capacity itself, because blocks times their size is wrong for models with several kinds of attention.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from p2p.base.serving_limits import MAX_METRICS, MAX_METRICS_LINE, MAX_METRICS_LINES

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
BY_REASON, DEFERRED = "vllm:num_requests_waiting_by_reason", "deferred"
USAGE, CACHE = "vllm:kv_cache_usage_perc", "vllm:cache_config_info"
MADE, PREEMPTED = "vllm:generation_tokens_total", "vllm:num_preemptions_total"
NAMES = frozenset({RUNNING, WAITING, BY_REASON, USAGE, CACHE, MADE, PREEMPTED})
MOST = 10**12  # a larger number is no count of requests or tokens

_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]{0,127})(?:\{(.*)\})?[ \t]+([0-9A-Za-z.+-]{1,40})(?:[ \t]+-?\d{1,20})?")
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]{0,127})="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Metrics:
    """One look at an engine. None: it does not say."""

    running: int | None = None  # requests in its batch
    waiting: int | None = None  # requests in its own queue, for want of room; checks that let answers pass are none
    kv_tokens: int | None = None  # that its KV cache holds
    kv_usage: float | None = None  # share of it in use, 0 to 1; blocks that only the prefix cache keeps count as free
    made: int | None = None  # output tokens since it started
    preempted: int | None = None  # requests that it broke off for want of room, since it started

    @property
    def kv_used(self) -> int | None:
        """Tokens of its KV cache in use."""
        if self.kv_tokens is None or self.kv_usage is None:
            return None
        return math.ceil(self.kv_tokens * self.kv_usage)


def parse_metrics(text: str) -> Metrics:
    """The load in a text of Prometheus's format. What is beyond MAX_METRICS characters is not read."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    capacity: list[int] = []
    deferred = 0.0
    for name, labels, value in _samples(text):
        if name == CACHE:
            if (tokens := _capacity(labels)) is not None:
                capacity.append(tokens)
        elif name == BY_REASON:
            deferred += value if labels.get("reason") == DEFERRED and 0 <= value <= MOST else 0.0
        elif 0 <= value <= MOST:
            sums[name] = sums.get(name, 0.0) + value
            counts[name] = counts.get(name, 0) + 1
    usage = sums[USAGE] / counts[USAGE] if USAGE in sums else None
    if WAITING in sums:
        sums[WAITING] = max(sums[WAITING] - deferred, 0.0)
    return Metrics(
        _whole(sums, RUNNING), _whole(sums, WAITING), min(sum(capacity), MOST) if capacity else None,
        min(usage, 1.0) if usage is not None else None, _whole(sums, MADE), _whole(sums, PREEMPTED),
    )


def _whole(sums: Mapping[str, float], name: str) -> int | None:
    return int(sums[name]) if name in sums else None


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """(name, labels, value) of the lines that are wanted."""
    for line in text[:MAX_METRICS].split("\n", MAX_METRICS_LINES)[:MAX_METRICS_LINES]:
        if len(line) > MAX_METRICS_LINE or not line.startswith("vllm:"):
            continue
        found = _SAMPLE.fullmatch(line.strip())
        if found is None or found[1] not in NAMES:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        if math.isfinite(value):
            yield found[1], dict(_LABEL.findall(found[2] or "")), value


def _capacity(labels: Mapping[str, str]) -> int | None:
    """Tokens of one engine's KV cache."""
    size = _count(labels.get("kv_cache_size_tokens", ""))
    if size:
        return size
    blocks, each = _count(labels.get("num_gpu_blocks", "")), _count(labels.get("block_size", ""))
    return blocks * each if blocks and each else None


def _count(text: str) -> int:
    """0 for what is no number, such as 'None'."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
