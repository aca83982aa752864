"""From what was seen to the result that is written. Law: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from testnet.manifest.model import Manifest
from testnet.runs.evidence import Evidence
from testnet.runs.plan import RunPlan
from testnet.runs.result import (
    AnswerRow,
    CheckResult,
    Curve,
    EventRow,
    MemberRow,
    Result,
    curve,
)
from testnet.runs.watching import Look, Watcher, highest

MIB = 1 << 20


def warn_of(look: Look | None, left_s: float) -> str:
    """A line of progress under load."""
    if look is None or not look.peers:
        return f"{max(left_s, 0):.0f} s left; no peer answers"
    heights = [seen.height for seen in look.peers.values()]
    return f"{max(left_s, 0):.0f} s left; {len(heights)} peers at heights {min(heights)} to {max(heights)}"


def topics_of(watcher: Watcher) -> dict[str, tuple[int, int]]:
    """Short name of each topic -> messages and bytes that the peers had received on it when they were last seen."""
    found: dict[str, Counter[str]] = {"messages": Counter(), "bytes": Counter()}
    for status in watcher.statuses.values():
        for what, counts in found.items():
            for topic, count in status.get("gossip", {}).get(what, {}).items():
                counts[str(topic).split("/")[-2]] += int(count)
    return {topic: (found["messages"][topic], count) for topic, count in found["bytes"].items()}


def totals(
    manifest: Manifest, plan: RunPlan, seen: Evidence, checks: Sequence[CheckResult],
    took: Sequence[tuple[str, float]], began: float, topics: Mapping[str, tuple[int, int]], provider: str,
    emulator: Mapping[str, int], fault: str,
) -> Result:
    looks, peers = seen.looks, max(len(plan.peers), 1)
    blocks = max((height for look in looks if (height := highest([look], look.at))), default=0)
    return Result(
        manifest.name, manifest.about, manifest.seed, provider, began, tuple(took), tuple(checks),
        members=tuple(_member(plan, number) for number in range(len(plan.members))),
        links=tuple(seen.links),
        events=tuple(
            EventRow(
                event.kind, event.who, round(event.began - began, 1),
                None if event.ended is None else round(event.ended - began, 1),
                None if event.grown is None or event.ended is None else round(event.grown - event.ended, 1),
                event.error,
            ) for event in seen.events
        ),
        heights=_curve(looks, began, "height", 1), memory_mib=_curve(looks, began, "rss", MIB),
        files=_curve(looks, began, "files", 1), cores=_cores(looks, began),
        answers=tuple(
            AnswerRow(round(a.asked - began, 2), a.first_s, a.took_s, a.tokens, _name(plan, a.executor), a.error)
            for a in seen.answers
        ),
        topics=tuple(
            (topic, *counts, round(counts[1] / max(blocks, 1) / peers, 1)) for topic, counts in sorted(topics.items())
        ),
        verdicts=tuple(seen.conduct), emulator=dict(emulator), fault=fault,
    )


def _member(plan: RunPlan, number: int) -> MemberRow:
    member = plan.members[number]
    group = member.group
    node = plan.node(member.name) if member.role != "client" else ""
    return MemberRow(member.name, group.role, group.region, group.engine, group.villain, plan.listen(member), node)


def _name(plan: RunPlan, node: str) -> str:
    """Of the peer with this node key; empty: none."""
    return next((member.name for member in plan.peers if node and plan.node(member.name) == node), "")


def _curve(looks: Sequence[Look], began: float, what: str, unit: float) -> Curve:
    return curve([
        (look.at - began, [getattr(seen, what) / unit for seen in look.peers.values()]) for look in looks
    ])


def _cores(looks: Sequence[Look], began: float) -> Curve:
    """Processors that one peer used between two looks."""
    points = []
    for before, after in pairwise(looks):
        span = after.at - before.at
        both = before.peers.keys() & after.peers.keys()
        used = [(after.peers[name].cpu_s - before.peers[name].cpu_s) / span for name in both] if span > 0 else []
        points.append((after.at - began, [max(value, 0.0) for value in used]))
    return curve(points)
