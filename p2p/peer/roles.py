"""Who does what in a peer. Law: an honest peer's roles are the defaults; whoever starts a peer that is to behave otherwise hands in others, so
that nothing of a production peer knows a cheat (p2p/lab/roles.py makes them for test networks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from p2p.peer.agent import Agent
from p2p.peer.executor import Executor
from p2p.peer.validator import Validator
from p2p.verification.engine import Engine

Fault = Callable[[Engine, Engine], Engine]  # (the engine that runs, an honest one) -> the engine whose answers are published


def running(engine: Engine, honest: Engine) -> Engine:
    del honest
    return engine


def claimed(engine: Engine, honest: Engine) -> Engine:
    del engine
    return honest


@dataclass(frozen=True, slots=True)
class Roles:
    """Factories of the three roles, and what stands between them and the ML node."""

    agent: Callable[..., Agent] = Agent
    executor: Callable[..., Executor] = Executor
    validator: Callable[..., Validator] = Validator
    jobs: Fault = running  # what answers clients
    checks: Fault = claimed  # what validators score with
    honest_ml_node: str = ""  # URL of an ML node with the claimed model; empty: the peer's own
    torch_options: Mapping[str, Any] = field(default_factory=dict)  # of a second torch engine for jobs; empty: there is one engine
    faults: Mapping[str, Fault] = field(default_factory=dict)  # what may be planted in answers to this peer's own owner
    plant_every_s: float = 0.0  # 0: nothing is planted
