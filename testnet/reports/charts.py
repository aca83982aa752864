"""Charts as SVG. Law: pure; a chart shows its unit, its bounds and, where there are any, the perturbations behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from testnet.runs.result import Curve, EventRow, MemberRow

WIDE, NARROW, HEIGHT = 960, 440, 170  # of a chart across the page, of one of two beside each other
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 26
ROLES = ("bootstrap", "validator", "host", "agent")
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axes:
    """Maps seconds and values to places in the picture."""

    end_s: float
    top: float
    width: int

    def x(self, at_s: float) -> float:
        return LEFT + (self.width - LEFT - RIGHT) * min(max(at_s, 0.0), self.end_s) / max(self.end_s, 1e-9)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(value, 0.0), self.top) / max(self.top, 1e-9)


def nice(value: float) -> float:
    """A round number at or above `value`: 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _frame(axes: Axes, unit: str, title: str, inside: str, events: Sequence[EventRow]) -> str:
    bands = "".join(
        f'<rect class="band" x="{axes.x(e.began_s):.1f}" y="{TOP}" height="{HEIGHT - TOP - BOTTOM}" '
        f'width="{max(axes.x(e.ended_s if e.ended_s is not None else axes.end_s) - axes.x(e.began_s), 1.5):.1f}">'
        f"<title>{escape(e.kind)}: {escape(e.who)}</title></rect>" for e in events
    )
    lines = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{axes.width - RIGHT}" y1="{axes.y(v):.1f}" y2="{axes.y(v):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{axes.y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in (0, axes.top / 2, axes.top)
    )
    ticks = "".join(
        f'<text x="{axes.x(axes.end_s * part / 4):.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{axes.end_s * part / 4:.0f} s</text>" for part in range(5)
    )
    return (
        f'<svg viewBox="0 0 {axes.width} {HEIGHT}" role="img" aria-label="{escape(title)}">{bands}{lines}{ticks}'
        f"{inside}"
        f'<text x="{LEFT + 4}" y="{TOP + 10}" class="unit">{escape(unit)}</text></svg>'
    )


def band(curve: Curve, unit: str, title: str, events: Sequence[EventRow] = (), width: int = NARROW) -> str:
    """The lowest and the highest peer over time, with what lies between them filled."""
    kept = [
        (at, low, high) for at, low, high in zip(curve.at_s, curve.lowest, curve.highest, strict=True)
        if low is not None and high is not None and at >= 0
    ]
    if not kept:
        return '<p class="none">nothing was measured</p>'
    axes = Axes(max(at for at, _, _ in kept), nice(max(high for _, _, high in kept)), width)
    highs = [(axes.x(at), axes.y(high)) for at, _, high in kept]
    lows = [(axes.x(at), axes.y(low)) for at, low, _ in kept]
    inside = (
        f'<polygon class="area" points="{_points([*highs, *reversed(lows)])}"/>'
        f'<polyline class="high" points="{_points(highs)}"/><polyline class="low" points="{_points(lows)}"/>'
    )
    return _frame(axes, unit, title, inside, events)


def dots(points: Sequence[tuple[float, float, bool]], unit: str, title: str, events: Sequence[EventRow] = ()) -> str:
    """(seconds, value, good) of each thing that happened."""
    kept = [(at, value, good) for at, value, good in points if at >= 0]
    if not kept:
        return '<p class="none">nobody asked</p>'
    axes = Axes(max(at for at, _, _ in kept), nice(max(value for _, value, _ in kept)), NARROW)
    inside = "".join(
        f'<circle class="{"good" if good else "bad"}" cx="{axes.x(at):.1f}" cy="{axes.y(value):.1f}" r="2.5"/>'
        for at, value, good in kept
    )
    return _frame(axes, unit, title, inside, events)


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def topology(members: Sequence[MemberRow], links: Sequence[tuple[str, str]], failed: frozenset[str]) -> str:
    """Peers on a circle, by region; a line for each connection. failed: names that a check complains of."""
    peers = sorted((m for m in members if m.role != "client"), key=lambda m: (m.region, ROLES.index(m.role), m.name))
    size, radius = 560, 190  # what is left at the sides is for names
    places: dict[str, Point] = {}
    for number, member in enumerate(peers):
        angle = 2 * math.pi * number / max(len(peers), 1) - math.pi / 2
        places[member.name] = (size / 2 + radius * math.cos(angle), size / 2 + radius * math.sin(angle))
    lines = "".join(
        f'<line class="link" x1="{places[a][0]:.1f}" y1="{places[a][1]:.1f}" x2="{places[b][0]:.1f}" '
        f'y2="{places[b][1]:.1f}"/>' for a, b in links if a in places and b in places
    )
    nodes = "".join(_node(member, *places[member.name], size, member.name in failed) for member in peers)
    return f'<svg viewBox="0 0 {size} {size}" class="map" role="img" aria-label="who is connected">{lines}{nodes}</svg>'


def _node(member: MemberRow, x: float, y: float, size: int, failed: bool) -> str:
    kind = "villain" if member.villain else member.role
    side = "start" if x >= size / 2 else "end"
    away_x, away_y = x + (9 if side == "start" else -9), y + (12 if y > size / 2 else -2)
    about = f"{member.name}: {member.role}{', ' + member.region if member.region else ''}, {member.address}"
    return (
        f'<circle class="{kind}{" failed" if failed else ""}" cx="{x:.1f}" cy="{y:.1f}" r="6">'
        f"<title>{escape(about)}</title></circle>"
        f'<text x="{away_x:.1f}" y="{away_y:.1f}" text-anchor="{side}">{escape(member.name)}</text>'
    )
