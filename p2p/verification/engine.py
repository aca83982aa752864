"""What an inference engine can do, whatever stack runs it. Law: data and a Protocol; no engine is imported here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from p2p.base.types import Params

Tokens = tuple[int, ...]
Row = Mapping[int, float]  # token id -> natural log-probability


@dataclass(frozen=True, slots=True)
class Job:
    """prompt_tokens: with the chat template applied. seed: the tape's. prefix: output tokens that exist already."""

    prompt_tokens: Tokens
    max_tokens: int
    params: Params
    seed: bytes
    prefix: Tokens = ()


@dataclass(frozen=True, slots=True)
class TokenStep:
    """One output token with its log-probability and the best candidates (token id, log-probability), best first. text: as the engine shows it,
    for people; what is streamed and signed for the executor makes by itself (verification/text.py)."""

    token: int
    text: str
    logprob: float
    top: tuple[tuple[int, float], ...] = field(default=())


class Engine(Protocol):
    """All methods raise Unavailable when the engine does not answer, answers an error, or answers nonsense."""

    def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        """Output tokens after job.prefix; ends after end-of-sequence or when max_tokens (prefix included) is reached."""
        ...

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        """One prefill: for each output position the `top` best tokens and the actual one with their log-probabilities."""
        ...

    async def tokenize_chat(self, prompt: str) -> Tokens:
        """The prompt as one user message under the model's chat template, generation prompt added."""
        ...

    async def health(self) -> bool: ...
