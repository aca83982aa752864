"""The registry: every series from the start, no label but the named ones, text that Prometheus's own parser reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from p2p.gateway.core.pieces import Usage
from p2p.gateway.metrics import GATEWAY, Metrics
from p2p.metrics.peer import PEER
from p2p.metrics.registry import Kind, Registry, counter, gauge, histogram

ASKED = counter("folkmoot_t_total", "Requests.", outcome=("answered", "failed"))
BY = counter("folkmoot_by_total", "By topic.", topic=("votes", "other"))
NOW = gauge("folkmoot_now", "Now.")
TOOK = histogram("folkmoot_took_seconds", "Took.", (0.1, 1.0), api=("a",))


def samples(registry: Registry) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(registry.text().decode()):
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}"] = one.value
    return found


def test_every_series_is_there_at_zero() -> None:
    found = samples(Registry((*PEER, *GATEWAY)))
    assert set(found.values()) == {0.0}
    for metric in (*PEER, *GATEWAY):
        first = next(metric.series())
        labels = sorted(zip((name for name, _ in metric.labels), first, strict=True))
        name = metric.name + ("_count" if metric.kind is Kind.HISTOGRAM else "")
        assert f"{name}{{{','.join(f'{key}={value}' for key, value in labels)}}}" in found
    assert len(found) < 2500, "bounded"


def test_numbers_are_counted_set_and_observed() -> None:
    registry = Registry((ASKED, NOW, TOOK))
    registry.add(ASKED, "failed")
    registry.add(ASKED, "failed", by=2)
    registry.set(NOW, 7)
    for value in (0.05, 0.1, 0.5, 3.0):
        registry.observe(TOOK, value, "a")
    found = samples(registry)
    assert found["folkmoot_t_total{outcome=failed}"] == 3
    assert found["folkmoot_t_total{outcome=answered}"] == 0
    assert found["folkmoot_now{}"] == 7
    assert [found[f"folkmoot_took_seconds_bucket{{api=a,le={le}}}"] for le in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert found["folkmoot_took_seconds_sum{api=a}"] == pytest.approx(3.65)


def test_no_stranger_makes_a_series() -> None:
    registry = Registry((ASKED, BY))
    before = len(samples(registry))
    registry.add(BY, "a topic of a stranger")
    assert registry.value(BY, "other") == 1
    with pytest.raises(KeyError):
        registry.add(ASKED, "another outcome")
    with pytest.raises(KeyError):
        registry.add(ASKED)
    assert len(samples(registry)) == before


def test_peer_and_gateway_share_one_registry() -> None:
    registry = Registry(PEER)
    metrics = Metrics(lambda: 3, lambda: 1, registry)
    metrics.begin("models")
    metrics.end("models", "200", 0.2)
    metrics.used(Usage(prompt=5, completion=7, cached=2))
    found = samples(registry)
    assert found["folkmoot_gateway_requests_total{api=models,status=200}"] == 1
    assert found["folkmoot_gateway_tokens_total{kind=completion}"] == 7
    assert found["folkmoot_gateway_connections{}"] == 3
    assert "folkmoot_height{}" in found
