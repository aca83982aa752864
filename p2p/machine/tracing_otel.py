"""Spans for OpenTelemetry, exported over OTLP/HTTP: the extra `folkmoot[otel]`.

Law: imported only where the environment names a collector. A collector that is away or slow costs spans, never an
answer: spans wait in a bounded queue of a thread of their own.

The trace id is the first 16 bytes of the inference's id. The client's span has the next 8 bytes as its id, and every
other span of the inference has that one as its parent, so no peer has to tell another one anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from p2p.base.errors import ConfigError
from p2p.machine import tracing
from p2p.machine.tracing import Fact

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
ROOT = "client"
_FLUSH_MS = 2_000


def is_wanted() -> bool:
    """Whether the environment names a collector, and does not switch spans off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in ENDPOINTS)


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Export spans while the block runs, if the environment wants it. Raises ConfigError without the extra."""
    if not is_wanted():
        yield
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ImportError as error:
        raise ConfigError(
            f"{next(name for name in ENDPOINTS if os.environ.get(name))} names a collector, but OpenTelemetry is not"
            " installed: pip install 'folkmoot[otel]'", field="otel",
        ) from error

    wanted: ContextVar[tuple[int, int] | None] = ContextVar("wanted", default=None)
    random = RandomIdGenerator()

    class Ids(RandomIdGenerator):
        """The ids of a root span come from its inference."""

        def generate_trace_id(self) -> int:
            found = wanted.get()
            return found[0] if found else random.generate_trace_id()

        def generate_span_id(self) -> int:
            found = wanted.get()
            return found[1] if found else random.generate_span_id()

    given = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service}
    provider = TracerProvider(resource=Resource.create(given), id_generator=Ids())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("folkmoot")

    class Spans:
        @contextmanager
        def span(self, name: str, inference_id: bytes, facts: dict[str, Fact]) -> Iterator[None]:
            ids = int.from_bytes(inference_id[:16], "big"), int.from_bytes(inference_id[16:24], "big")
            context = None
            if name == ROOT:
                token = wanted.set(ids)
            else:
                parent = trace.SpanContext(*ids, is_remote=True, trace_flags=trace.TraceFlags(1))
                context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
            span = tracer.start_span(name, context=context, attributes={"folkmoot.inference": inference_id.hex()})
            if name == ROOT:
                wanted.reset(token)
            began, since_epoch = time.monotonic_ns(), time.time_ns() - time.monotonic_ns()
            try:
                yield
            except BaseException as error:
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise
            finally:
                span.set_attributes({f"folkmoot.{key}": value for key, value in facts.items()})
                for step, at in tracing.steps_of(inference_id).items():
                    if at >= began:
                        span.add_event(step, timestamp=since_epoch + at)
                span.end()

    tracing.use(Spans())
    try:
        yield
    finally:
        tracing.use(None)
        provider.force_flush(_FLUSH_MS)
        provider.shutdown()
