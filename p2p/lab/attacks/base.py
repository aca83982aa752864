"""What an attack is, and tools to write one.

Law: data and small tools. An attack lies in what it runs or says, never by noise added to honest numbers.

For researchers: an attack is one file in this folder with `ATTACK = Attack(...)`, and its name in NAMES of __init__.py.
A cheat may lie in three places; use as few as possible.

  weights, vllm_flags, torch_options   What the engine runs: altered weights (`weights.prepare`), an fp8 KV cache, ...
  wrap(inner, honest) -> Engine        What the engine says: `generate` yields the TokenSteps that the cheat PUBLISHES.
                                       `inner` runs the weights above, `honest` the claimed model; both are any Engine.
  executor, validator, agent           Subclasses of the real Executor, Validator, Agent, for lies outside the engine.

`folkmoot attack NAME --prompt TEXT` runs one here; `cheat = "NAME"` in a test peer's lab.toml runs it on a network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p2p.peer.roles import Fault, claimed, running
from p2p.verification.engine import Engine, Job, Row, TokenStep

if TYPE_CHECKING:
    from p2p.peer.agent import Agent
    from p2p.peer.executor import Executor
    from p2p.peer.validator import Validator

EXACT = "stage 0 (exact)"
REPLAY = "stage 1 (tape replay: margin)"
DISTANCE = "stage 1 (distance of the published numbers)"
REVEAL = "commit and reveal of the validators' own numbers"


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of cheat: what it runs, what it says, and which check is meant to catch it."""

    name: str  # of the file too
    summary: str  # one sentence
    caught_by: str  # the check that is meant to catch it
    weights: str | None = None  # altered weights that its engine runs, a name for `weights.prepare`
    exact: bool = False  # stage 0 alone catches it, where `needs` holds
    needs: str = ""  # what a request must be for the attack to do anything; '' for nothing
    wrap: Fault = running  # (engine that it runs, honest engine) -> engine that answers
    checks_with: Fault = claimed  # the same for the engine that its validator checks with
    executor: type[Executor] | Callable[..., Executor] | None = None
    validator: type[Validator] | Callable[..., Validator] | None = None
    agent: type[Agent] | Callable[..., Agent] | None = None
    vllm_flags: tuple[str, ...] = ()  # of its own vLLM
    torch_options: Mapping[str, Any] = field(default_factory=dict)  # of its own TorchModel

    @property
    def own_engine(self) -> bool:
        """Whether the cheat runs another engine than an honest host's."""
        return bool(self.weights or self.vllm_flags)


class Wrapped:
    """An Engine around two others: `inner`, which the cheat runs, and `honest`, the claimed model.

    Subclasses replace `generate`.
    """

    def __init__(self, inner: Engine, honest: Engine) -> None:
        self.inner, self.honest = inner, honest

    def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        return self.inner.generate(job)

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        return await self.inner.score(prompt_tokens, output_tokens, top)

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        return await self.inner.replay(job, top)

    async def health(self) -> bool:
        return await self.inner.health() and await self.honest.health()


async def collect(steps: AsyncIterator[TokenStep]) -> list[TokenStep]:
    """All tokens of an answer."""
    return [step async for step in steps]


def best(row: Row, count: int) -> tuple[tuple[int, float], ...]:
    """The `count` likeliest candidates of a row, likeliest first; equal ones by token id."""
    return tuple(sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))[:count])
