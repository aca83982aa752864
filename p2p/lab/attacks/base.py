"""What an attack is. Law: data and small tools; an attack lies in what it runs or says, never by noise added to honest
numbers.

For researchers. An attack is one file in this folder with `ATTACK = Attack(...)` and its name in `NAMES` of
`__init__.py`. Three places where a cheat may lie, use as few as possible:
  weights, vllm_flags, torch_options   what the engine runs: altered weights (`weights.prepare`), an fp8 KV cache, ...
  wrap(inner, honest) -> Engine        what the engine says: `generate` yields the TokenSteps the cheat PUBLISHES. `inner` runs
                                       the weights above, `honest` the claimed model; both are any Engine (vLLM, torch, ...)
  executor, validator, agent           subclasses of the real Executor, Validator, Agent for lies outside the engine
`folkmoot attack NAME --prompt TEXT` runs one here; `cheat = "NAME"` in a test peer's lab.toml runs it on a network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p2p.inference.stack.end_tokens import end_tokens
from p2p.peer.roles import Fault, claimed, running
from p2p.verification.engine import Engine, Job, Row, Tokens, TokenStep

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
    """name: of file and attack. summary: one sentence. caught_by: the check that is meant to catch it. weights: None or
    a name for `weights.prepare`. checks_with: which engine its validator runs. exact: stage 0 alone catches it (where
    `needs` holds). needs: precondition on the request, '' for none."""

    name: str
    summary: str
    caught_by: str
    weights: str | None = None
    exact: bool = False
    needs: str = ""
    wrap: Fault = running
    checks_with: Fault = claimed
    executor: type[Executor] | Callable[..., Executor] | None = None
    validator: type[Validator] | Callable[..., Validator] | None = None
    agent: type[Agent] | Callable[..., Agent] | None = None
    vllm_flags: tuple[str, ...] = ()
    torch_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_engine(self) -> bool:
        """Whether the cheat runs another engine than an honest host's."""
        return bool(self.weights or self.vllm_flags)


class Wrapped:
    """An Engine around another: subclasses replace `generate`. inner: what the cheat runs; honest: the claimed
    model.
    """

    def __init__(self, inner: Engine, honest: Engine) -> None:
        self.inner, self.honest = inner, honest

    def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        return self.inner.generate(job)

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        return await self.inner.score(prompt_tokens, output_tokens, top)

    async def tokenize_chat(self, prompt: str) -> Tokens:
        return await self.inner.tokenize_chat(prompt)

    async def health(self) -> bool:
        return await self.inner.health() and await self.honest.health()

    async def eos_ids(self) -> frozenset[int]:
        return await end_tokens(self.inner)


async def collect(steps: AsyncIterator[TokenStep]) -> list[TokenStep]:
    return [step async for step in steps]


def best(row: Row, count: int) -> tuple[tuple[int, float], ...]:
    """The best `count` candidates of a row, best first; ties by token id."""
    return tuple(sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))[:count])
