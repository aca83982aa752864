"""Where the time to the first token goes: a table by hop, of answers that were just given.

Law: only reads what peers and gateway say of an answer (hops, Server-Timing). All clocks are this machine's one.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import Protocol

from p2p.base.errors import FolkmootError
from p2p.peer.control import call
from testnet.up import Running

# (the step that ends a hop, what happens in it)
HOPS = (
    ("read", "gateway: the request is read"),
    ("prepare", "gateway: the question is made, its tokens counted"),
    ("agent is asked", "client: signs, opens a stream, sends"),
    ("agent has checked", "agent: checks, draws, reserves"),
    ("agent has a stream to the executor", "agent: opens a stream to the executor"),
    ("executor is asked", "agent: sends; executor: reads"),
    ("executor has a place", "executor: checks, takes a place"),
    ("executor has the prompt's tokens", "executor: applies the template, makes tokens"),
    ("engine's first token", "engine: its first token"),
    ("agent has the first tokens", "executor: signs and sends; agent: reads"),
    ("shown", "agent: checks and sends; client: checks; gateway: writes"),
)


class Answer(Protocol):
    """What is known of an answer."""

    @property
    def inference(self) -> str: ...
    @property
    def timing(self) -> str: ...
    @property
    def begun_s(self) -> float: ...
    @property
    def first_s(self) -> float: ...


def hops(network: Running, answers: Sequence[Answer]) -> str:
    """The table: of each hop the median and the least milliseconds."""
    rows = [row for row in (_one(network, answer) for answer in answers) if row is not None]
    if not rows:
        return "no answer has marks"
    lines = [f"where the time to the first token goes, ms, of {len(rows)} answers{'median':>17}{'least':>9}"]
    for at, (_, what) in enumerate(HOPS):
        took = [row[at] for row in rows]
        lines.append(f"  {what:58}{statistics.median(took):9.1f}{min(took):9.1f}")
    return "\n".join(lines)


def _one(network: Running, answer: Answer) -> list[float] | None:
    """Milliseconds of each hop; None where a mark is missing, as after a second executor."""
    marks: dict[str, float] = {}
    for folder in network.folders:
        try:
            marks |= call(folder, {"op": "hops", "id": answer.inference})["marks"]
        except FolkmootError:  # a peer without an answer has no part of it
            continue
    parts = {name: float(took) for name, took in re.findall(r"(\w+);dur=([\d.]+)", answer.timing)}
    found, last = list[float](), answer.begun_s * 1e3
    for step, _ in HOPS:
        if step in ("read", "prepare"):
            now = last + parts.get(step, 0.0)
        elif step == "shown":
            now = (answer.begun_s + answer.first_s) * 1e3
        elif step in marks:
            now = marks[step] / 1e6
        else:
            return None
        found.append(now - last)
        last = now
    return found
