"""Jobs, and schedulers with ML nodes that are up."""

from __future__ import annotations

from typing import Any

from p2p.scheduling.jobs import Job, Kind
from p2p.scheduling.metrics import Metrics
from p2p.scheduling.nodes import NodeSpec
from p2p.scheduling.scheduler import Scheduler

MODEL = "m"


def job(kind: Kind = Kind.PAID, account: bytes = b"a", prompt: int = 10, most: int = 90, **more: Any) -> Job:
    return Job(kind, more.pop("model", MODEL), prompt, most, account, **more)


def scheduler(*places: int, kv: int | None = None, model: str = MODEL) -> Scheduler:
    """Nodes n0, n1, ... with so many places each."""
    made = Scheduler()
    for at, most in enumerate(places):
        made.add(NodeSpec(f"n{at}", model, most))
        made.observe(f"n{at}", Metrics(0, 0, kv, 0.0 if kv else None), 0.0)
    return made
