"""What is said about one inference carries its id: log lines and steps always, spans where they are exported.

Law: no library of spans is imported where they are off. The id is a hash of the signed request, the same at client,
agent, executor and validators, so lines and spans of all of them belong together without a word between the peers.

A step is a moment that an inference passes: where the time to its first token goes. It costs a microsecond. Each is an
event of the span in which it was passed, and the newest inferences' steps are kept for who asks this process. The clock
is the machine's monotonic one, so steps of several processes of one machine can be put in one row (testnet/hops.py).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import structlog

from p2p.base.limits import MAX_KEPT_STEPS

Fact = str | int | float | bool
# a key of an event whose lines are bounded by the work that was let in, so they are never counted as repetitions
EACH = "_each"


def say(event: str, inference_id: bytes, **fields: object) -> None:
    """A line about an inference, for a library: without a log that its program configured, it says nothing."""
    if structlog.is_configured():
        structlog.get_logger().info(event, inference=inference_id.hex(), **fields)


class Steps:
    """When the newest inferences passed which step in this process."""

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, dict[str, int]] = OrderedDict()

    def mark(self, inference_id: bytes, name: str) -> None:
        """The inference passes the step now. A step counts the first time."""
        steps = self._of.get(inference_id)
        if steps is None:
            steps = self._of[inference_id] = {}
            if len(self._of) > MAX_KEPT_STEPS:
                self._of.popitem(last=False)
        steps.setdefault(name, time.monotonic_ns())

    def of(self, inference_id: bytes) -> dict[str, int]:
        """Step -> nanoseconds of the monotonic clock, in order; empty for an inference that is not kept."""
        return dict(self._of.get(inference_id, {}))


_steps = Steps()
passes, steps_of = _steps.mark, _steps.of


class Tracer(Protocol):
    """Records spans (tracing_otel.py)."""

    def span(self, name: str, inference_id: bytes, facts: dict[str, Fact]) -> AbstractContextManager[None]:
        """A span while the block runs. `facts` may grow meanwhile and become attributes at its end; the steps that the
        inference passes meanwhile become its events."""


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
