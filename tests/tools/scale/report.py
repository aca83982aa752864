"""The rows as tables, and how each figure grows. Law: pure; nothing is shown that was not measured.

Growth is b in value = a N^b, by the least squares of logarithms. Where a cost has a linear and a quadratic part, both
are fitted too, because one exponent would hide the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.tools.bench_scale import fit
from tests.tools.scale import gossip, participants, validators

VALIDATORS = "  N  votes by  delays  CPU ms  of which signatures     bytes  frames  certificate"
GOSSIP = "peers  messages  in time    p99  hops  most  copies   bytes  control  CPU us a delivery"
PARTICIPANTS = "participants  state kB  tree kB  proof  serving set  prepare ms  draw us  committee: drawn  ended us"
EPOCH = "participants    money  conduct   sprint     sets     tree  snapshot   in all ms  snapshot kB  chunks"


def validator_row(row: validators.Row) -> str:
    return (
        f"{row.validators:3}  {row.way:8}  {row.delays:6.2f}  {row.cpu_ms:6.1f}  {row.signatures_ms:19.1f}  "
        f"{row.bytes:8.0f}  {row.frames:6.1f}  {row.certificate:11}"
    )


def gossip_row(row: gossip.Row) -> str:
    return (
        f"{row.peers:5}  {row.messages:8}  {row.in_time:7.2%}  {row.p99_s:4.2f}s  {row.hops:4.1f}  {row.most_hops:4}  "
        f"{row.copies:6.2f}  {row.bytes:6.0f}  {row.control:7.1%}  {row.cpu_us:17.0f}"
    )


def participant_row(row: participants.Row) -> str:
    return (
        f"{row.participants:12}  {row.state / 1000:8.0f}  {row.tree / 1000:7.0f}  {row.proof:5.0f}  "
        f"{row.serving:11}  {row.prepare_ms:10.1f}  {row.draw_us:7.1f}  {row.open_us:16.0f}  {row.close_us:8.0f}"
    )


def epoch_row(row: participants.Row) -> str:
    return (
        f"{row.participants:12} {_ms(row.settle_ms)} {_ms(row.conduct_ms)} {_ms(row.sprint_ms)} {_ms(row.sets_ms)} "
        f"{_ms(row.tree_ms)}  {_ms(row.snapshot_ms)}  {row.end_ms:10.0f}  {row.snapshot / 1000:11.0f}  {row.chunks:6}"
    )


def _ms(value: float) -> str:
    return f"{'-':>8}" if math.isnan(value) else f"{value:8.1f}"


Points = list[tuple[float, float]]


def line_and_square(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(a, b) of value = a N + b N^2 with the least squares of value / N; NaN for fewer than two points."""
    each = [(x, y / x) for x, y in points if not math.isnan(y)]
    if len({x for x, _ in each}) < 2:
        return math.nan, math.nan
    mean_x, mean_y = sum(x for x, _ in each) / len(each), sum(y for _, y in each) / len(each)
    b = sum((x - mean_x) * (y - mean_y) for x, y in each) / sum((x - mean_x) ** 2 for x, _ in each)
    return mean_y - b * mean_x, b


def _exponents(what: str, named: dict[str, Points]) -> list[str]:
    shown = ", ".join(f"{name} N^{fit(points)[1]:.2f}" for name, points in named.items() if len(points) > 1)
    return [f"growth, {what}: {shown}"] if shown else []


def validator_growth(rows: Sequence[validators.Row]) -> list[str]:
    said = []
    for way in validators.WAYS:
        some = [row for row in rows if row.way == way]
        said += _exponents(f"votes by {way}", {
            "CPU": [(row.validators, row.cpu_ms) for row in some],
            "bytes": [(row.validators, row.bytes) for row in some],
            "certificate": [(row.validators, float(row.certificate)) for row in some],
        })
    return said


def gossip_growth(rows: Sequence[gossip.Row]) -> list[str]:
    return _exponents("gossip", {
        "hops": [(row.peers, row.hops) for row in rows], "copies": [(row.peers, row.copies) for row in rows],
        "bytes": [(row.peers, row.bytes) for row in rows],
    })


def participant_growth(rows: Sequence[participants.Row]) -> list[str]:
    def of(field: str) -> Points:
        return [(row.participants, value) for row in rows if not math.isnan(value := float(getattr(row, field)))]

    said = _exponents("ledger", {
        "state": of("state"), "tree": of("tree"), "proof": of("proof"), "prepare": of("prepare_ms"),
        "draw": of("draw_us"), "committee ended": of("close_us"),
    })
    said += _exponents("an epoch's end", {
        "money": of("settle_ms"), "conduct": of("conduct_ms"), "sprint": of("sprint_ms"), "sets": of("sets_ms"),
        "tree": of("tree_ms"), "snapshot": of("snapshot_ms"),
    })
    line, square = line_and_square(of("conduct_ms"))
    if not math.isnan(square):
        said.append(f"conduct: {line * 1000:.0f} us x N + {square * 1e6:.0f} ns x N^2")
    return said
