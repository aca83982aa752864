"""What the gateway counts, for Prometheus. Law: every series is there from the start, at zero; no label has a value
that a caller chooses. docs/gateway.md has the table."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from p2p.gateway.core.pieces import Usage
from p2p.gateway.core.refusals import STATUSES

APIS = ("chat_completions", "completions", "responses", "messages", "count_tokens", "models", "inferences", "other")
TOKENS = ("prompt", "cached", "completion")
CONTENT_TYPE = CONTENT_TYPE_LATEST
LEFT = "left"  # the status of a request whose client left before its answer
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Of one gateway."""

    def __init__(self, connections: Callable[[], int], sessions: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "folkmoot_gateway_requests_total", "Requests that are over.", ["api", "status"], registry=self.registry,
        )
        self._running = Gauge(
            "folkmoot_gateway_requests_running", "Requests in progress.", ["api"], registry=self.registry,
        )
        self._seconds = Histogram(
            "folkmoot_gateway_request_seconds", "From a request's headers to the end of its answer.", ["api"],
            buckets=_SECONDS, registry=self.registry,
        )
        self._first = Histogram(
            "folkmoot_gateway_first_token_seconds", "From a request's headers to the first piece of its answer.",
            ["api"], buckets=_SECONDS, registry=self.registry,
        )
        self._tokens = Counter(
            "folkmoot_gateway_tokens_total", "Tokens of complete answers, as they are charged.", ["kind"],
            registry=self.registry,
        )
        self._failed = Counter(
            "folkmoot_gateway_streams_failed_total", "Streams that ended with an error.", ["api"],
            registry=self.registry,
        )
        for name, text, count in (
            ("folkmoot_gateway_connections", "Open connections.", connections),
            ("folkmoot_gateway_sessions", "Conversations remembered.", sessions),
        ):
            Gauge(name, text, registry=self.registry).set_function(count)
        for api in APIS:
            for status in ("200", LEFT, *map(str, STATUSES)):
                self._requests.labels(api, status)
            for metric in (self._running, self._seconds, self._first, self._failed):
                metric.labels(api)
        for kind in TOKENS:
            self._tokens.labels(kind)

    def begin(self, api: str) -> None:
        """A request has come."""
        self._running.labels(api).inc()

    def end(self, api: str, status: str, seconds: float) -> None:
        """It is over. status: of its answer, or LEFT."""
        self._running.labels(api).dec()
        self._requests.labels(api, status).inc()
        self._seconds.labels(api).observe(seconds)

    def first_token(self, api: str, seconds: float) -> None:
        self._first.labels(api).observe(seconds)

    def stream_failed(self, api: str) -> None:
        self._failed.labels(api).inc()

    def used(self, usage: Usage) -> None:
        """An answer is complete."""
        for kind, count in zip(TOKENS, (usage.prompt, usage.cached, usage.completion), strict=True):
            self._tokens.labels(kind).inc(count)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
