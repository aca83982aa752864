"""The classes that play a peer's roles, and the engines they use.

Law: the defaults are an honest peer's. Whoever starts a peer that is to misbehave hands in other roles, so no file of a
production peer knows an attack (p2p/lab/roles.py makes such roles for test networks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from p2p.peer.agent import Agent
from p2p.peer.executor import Executor
from p2p.peer.validator import Validator
from p2p.verification.engine import Engine

# (the engine that runs, an honest one) -> the engine whose answers are published
Fault = Callable[[Engine, Engine], Engine]


def running(engine: Engine, honest: Engine) -> Engine:
    """The engine that runs."""
    del honest
    return engine


def claimed(engine: Engine, honest: Engine) -> Engine:
    """The honest engine, with the claimed model."""
    del engine
    return honest


@dataclass(frozen=True, slots=True)
class Roles:
    """Factories of the three roles, and what stands between them and the ML node."""

    agent: Callable[..., Agent] = Agent
    executor: Callable[..., Executor] = Executor
    validator: Callable[..., Validator] = Validator
    jobs: Fault = running  # the engine that answers clients
    checks: Fault = claimed  # the engine that scores other peers' answers
    honest_ml_node: str = ""  # URL of an ML node with the claimed model; empty: the peer's own
    # of a second torch engine for jobs; empty: there is one engine
    torch_options: Mapping[str, Any] = field(default_factory=dict)
    faults: Mapping[str, Fault] = field(default_factory=dict)  # that the fault injector may plant, by name
    plant_every_s: float = 0.0  # seconds between two planted faults; 0: none are planted
