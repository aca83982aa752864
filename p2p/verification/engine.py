"""The interface of an inference engine. Law: data and a Protocol; no engine is imported here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from p2p.base.body import Grammar
from p2p.base.types import Params

Tokens = tuple[int, ...]
Row = Mapping[int, float]  # token id -> natural log-probability


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to generate."""

    prompt_tokens: Tokens
    max_tokens: int  # of the answer, the prefix included, `begun` not
    params: Params
    seed: bytes  # of the tape, 32 bytes
    prefix: Tokens = ()  # output tokens that exist already
    begun: Tokens = ()  # output tokens of an earlier request, which come before `prefix` (Body.begun)
    ends: Tokens = ()  # token ids that end an answer; empty: the engine's own
    bias: tuple[tuple[int, int], ...] = ()  # (token id, thousandths of a nat), as in a Body
    grammar: Grammar | None = None  # how the answer must look
    session: bytes = b""  # requests of one session find each other's prefix cache; b"": none


@dataclass(frozen=True, slots=True)
class TokenStep:
    """One output token."""

    token: int
    text: str  # as the engine shows it, for people; the executor makes the text it signs by itself (p2p/text)
    logprob: float  # nats
    top: tuple[tuple[int, float], ...] = field(default=())  # best candidates (token id, log-probability), best first
    cached: int = 0  # of an answer's last step: prompt tokens that the prefix cache had, where the engine says it


class Engine(Protocol):
    """All methods raise Unavailable if the engine does not answer, or answers an error or nonsense."""

    def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        """Output tokens after job.prefix. Ends after an end token, or at max_tokens (prefix included)."""
        ...

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        """One prefill: for each output position the `top` best tokens and the actual one, with their log-probabilities
        in nats. Raises InvalidRequest(field='tokens') where the model has not all of these tokens: that is a fault of
        the answer, not of the engine."""
        ...

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        """As score(prompt_tokens + begun, prefix, top) of the job, in rows that also have the tape's own choice by the
        whole vocabulary (MarkedRow in marks.py)."""
        ...

    async def health(self) -> bool:
        """Whether it answers now."""
        ...
