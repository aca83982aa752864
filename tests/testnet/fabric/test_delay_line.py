"""What packets meet between members: delay, jitter, loss, bandwidth, and what perturbations lay over it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testnet.fabric.delay_line import MAX_BACKLOG_S, MAX_WAITING, DelayLine
from testnet.fabric.links import Overlay, Way, Ways, overlay_from_json, overlay_to_json, way_of
from testnet.manifest.model import Link

A, B, C = "10.65.1.2", "10.66.2.2", "10.66.3.2"
LINK = Link(between=("eu", "us"), latency_ms=40, jitter_ms=5, loss_percent=1, mbit=8)
REGIONS = {A: "eu", B: "us", C: "us"}


def line(way: Way, seed: int = 1) -> DelayLine:
    return DelayLine(lambda source, target: way, random.Random(seed))


@given(st.lists(st.floats(0, 0.01), min_size=1, max_size=60), st.floats(0, 0.2), st.floats(0, 0.1), st.integers(0, 99))
def test_a_packet_takes_its_time_and_none_overtakes(
    pauses: list[float], latency: float, jitter: float, seed: int
) -> None:
    one, now, came = line(Way(latency, min(jitter, latency)), seed), 0.0, []
    for number, pause in enumerate(pauses):
        now += pause
        came.append(now)
        one.offer(number.to_bytes(4, "big"), A, B, now)
    order, times = [], []
    while (due := one.next_due()) is not None:
        for packet in one.due(due):
            order.append(int.from_bytes(packet, "big"))
            times.append(due)
    assert order == list(range(len(pauses)))
    for begun, ended in zip(came, times, strict=True):
        assert ended >= begun + latency - min(jitter, latency) - 1e-9


def test_nothing_comes_early() -> None:
    one = line(Way(0.1))
    one.offer(b"x", A, B, 1.0)
    assert one.due(1.0999) == []
    assert one.due(1.1001) == [b"x"]


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.5, 1.0])
def test_so_many_are_lost(loss: float) -> None:
    one = line(Way(loss=loss))
    for _ in range(4000):
        one.offer(b"x", A, B, 0.0)
        one.due(0.0)
    assert one.counts["lost"] == pytest.approx(4000 * loss, abs=150)
    assert one.counts["lost"] + one.counts["passed"] == 4000


def test_little_bandwidth_delays_and_then_drops_at_the_tail() -> None:
    one, sent = line(Way(bytes_a_second=1000.0)), 0
    for _ in range(100):
        one.offer(bytes(100), A, B, 0.0)
    while (due := one.next_due()) is not None:
        sent += len(one.due(due))
        assert due == pytest.approx(sent * 0.1)
    assert sent == pytest.approx(MAX_BACKLOG_S / 0.1, abs=1)
    assert one.counts["dropped"] == 100 - sent


def test_what_waits_is_bounded() -> None:
    one = line(Way(10.0))
    for _ in range(MAX_WAITING + 10):
        one.offer(b"x", A, B, 0.0)
    assert one.counts["dropped"] == 10


def test_links_are_between_regions_in_both_directions() -> None:
    ways = Ways([LINK], REGIONS)
    assert ways.between(A, B) == ways.between(B, A) == way_of(40, 5, 1, 8)
    assert ways.between(B, C) == Way()
    assert ways.between(A, "10.1.1.1") == Way()


def test_an_overlay_adds_to_a_link_until_it_is_taken_away() -> None:
    ways = Ways([LINK], REGIONS)
    ways.lay([Overlay(frozenset({A}), frozenset(), way_of(100, 0, 50, None))])
    found = ways.between(A, B)
    assert found.latency_s == pytest.approx(0.14)
    assert found.loss == pytest.approx(1 - 0.99 * 0.5)
    assert found.bytes_a_second == 1_000_000
    assert ways.between(B, C) == Way(), "only those named"
    ways.lay([])
    assert ways.between(A, B) == way_of(40, 5, 1, 8)


def test_an_overlay_against_some_leaves_the_others() -> None:
    overlay = Overlay(frozenset({A}), frozenset({B}), way_of(100, 0, 0, None))
    assert overlay.covers(A, B)
    assert overlay.covers(B, A)
    assert not overlay.covers(A, C)
    assert overlay_from_json(overlay_to_json(overlay)) == overlay
