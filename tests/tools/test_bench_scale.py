"""The scale bench: its fit, and one run with few peers, so that it works when somebody needs it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tools import bench_scale
from tests.tools.bench_scale import Sample, bytes_by_topic, fit


def test_the_fit_finds_a_power_law() -> None:
    a, b = fit([(size, 7.0 * size**1.5) for size in (4, 8, 16, 48)])
    assert (a, b) == (pytest.approx(7.0), pytest.approx(1.5))
    assert math.isnan(fit([(4, 10.0), (8, math.nan)])[1])


def test_a_sample_sums_what_peers_say_and_bears_what_they_do_not() -> None:
    rows = ({"height": 4, "links": {"dials": 2}, "gossip": {"bytes": {"votes": 10}}}, {"height": 6})
    one, later = Sample(0.0, 0.0, (), rows), Sample(1.0, 0.0, (), ({**rows[0], "gossip": {"bytes": {"votes": 50}}},))
    assert (one.height(), one.total("links", "dials"), one.total("none", "such")) == (5, 2, 0)
    assert bytes_by_topic(one, later, blocks=2, peers=2) == "votes 10"
    assert bytes_by_topic(one, Sample(1.0, 0.0, (), ()), blocks=0, peers=2) == "votes -5"
    assert Sample(0.0, 0.0, (), ()).height() == 0


@pytest.mark.network
def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--sizes", "2", "--start", "15", "--seconds", "8", "--rate", "1", "--dir", str(tmp_path)]
    assert bench_scale.main(argv) == 0
    said = capsys.readouterr().out
    assert said.count("blocks/s") == 2
    assert said.count("dials") == 2
    assert "did not run" not in said
    assert list(tmp_path.iterdir()) == []
