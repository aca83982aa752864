"""What is said about one inference carries its id: log lines always, spans where they are exported.

Law: nothing is imported or kept where spans are off. The id is a hash of the signed request, the same at client, agent,
executor and validators, so lines and spans of all of them belong together without a word between the peers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import structlog

Fact = str | int | float | bool
# a key of an event whose lines are bounded by the work that was let in, so they are never counted as repetitions
EACH = "_each"


def say(event: str, inference_id: bytes, **fields: object) -> None:
    """A line about an inference, for a library: without a log that its program configured, it says nothing."""
    if structlog.is_configured():
        structlog.get_logger().info(event, inference=inference_id.hex(), **fields)


class Tracer(Protocol):
    """Records spans (tracing_otel.py)."""

    def span(self, name: str, inference_id: bytes, facts: dict[str, Fact]) -> AbstractContextManager[None]:
        """A span while the block runs. `facts` may grow meanwhile and become attributes at its end."""


class _Tracers:
    used: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Record spans from now on; None: no more."""
    _Tracers.used = tracer


@contextmanager
def about(what: str, inference_id: bytes) -> Iterator[dict[str, Fact]]:
    """While the block runs, log lines of this task and of those it starts name the inference. The yielded facts are
    attributes of the span. what: the part of the work, such as 'executor'."""
    with structlog.contextvars.bound_contextvars(inference=inference_id.hex()), spanned(what, inference_id) as facts:
        yield facts


@contextmanager
def spanned(what: str, inference_id: bytes) -> Iterator[dict[str, Fact]]:
    """As `about`, for an asynchronous generator: its caller's log lines are its caller's, so none is changed."""
    facts: dict[str, Fact] = {}
    tracer = _Tracers.used
    with tracer.span(what, inference_id, facts) if tracer is not None else nullcontext():
        yield facts
