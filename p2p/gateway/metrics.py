"""What the gateway counts. Law: one mechanism with the peer's metrics (p2p/metrics); no label has a value that a caller
chooses."""

from __future__ import annotations

from collections.abc import Callable

from p2p.gateway.core.pieces import Usage
from p2p.gateway.core.refusals import STATUSES
from p2p.metrics.registry import CONTENT_TYPE, Registry, counter, gauge, histogram

__all__ = ["CONTENT_TYPE", "GATEWAY", "LEFT", "Metrics"]

APIS = ("chat_completions", "completions", "responses", "messages", "count_tokens", "models", "inferences", "other")
TOKENS = ("prompt", "cached", "completion")
LEFT = "left"  # the status of a request whose client left before its answer
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

REQUESTS = counter(
    "folkmoot_gateway_requests_total", "Requests that are over.", api=APIS, status=("200", LEFT, *map(str, STATUSES)),
)
RUNNING = gauge("folkmoot_gateway_requests_running", "Requests in progress.", api=APIS)
SECONDS = histogram(
    "folkmoot_gateway_request_seconds", "From a request's headers to the end of its answer.", _SECONDS, api=APIS,
)
FIRST = histogram(
    "folkmoot_gateway_first_token_seconds", "From a request's headers to the first piece of its answer.", _SECONDS,
    api=APIS,
)
USED = counter("folkmoot_gateway_tokens_total", "Tokens of complete answers, as they are charged.", kind=TOKENS)
FAILED = counter("folkmoot_gateway_streams_failed_total", "Streams that ended with an error.", api=APIS)
CONNECTIONS = gauge("folkmoot_gateway_connections", "Open connections.")
SESSIONS = gauge("folkmoot_gateway_sessions", "Conversations remembered.")
GATEWAY = (REQUESTS, RUNNING, SECONDS, FIRST, USED, FAILED, CONNECTIONS, SESSIONS)


class Metrics:
    """Of one gateway. registry: of the peer that it is a part of; None: the gateway is a process of its own."""

    def __init__(
        self, connections: Callable[[], int], sessions: Callable[[], int], registry: Registry | None = None,
    ) -> None:
        self.registry = registry or Registry(())
        self.registry.extend(GATEWAY)
        self.registry.before.append(lambda: self._look(connections(), sessions()))

    def _look(self, connections: int, sessions: int) -> None:
        self.registry.set(CONNECTIONS, connections)
        self.registry.set(SESSIONS, sessions)

    def begin(self, api: str) -> None:
        """A request has come."""
        self.registry.add(RUNNING, api)

    def end(self, api: str, status: str, seconds: float) -> None:
        """It is over. status: of its answer, or LEFT."""
        self.registry.add(RUNNING, api, by=-1)
        self.registry.add(REQUESTS, api, status)
        self.registry.observe(SECONDS, seconds, api)

    def first_token(self, api: str, seconds: float) -> None:
        self.registry.observe(FIRST, seconds, api)

    def stream_failed(self, api: str) -> None:
        self.registry.add(FAILED, api)

    def used(self, usage: Usage) -> None:
        """An answer is complete."""
        for kind, count in zip(TOKENS, (usage.prompt, usage.cached, usage.completion), strict=True):
            self.registry.add(USED, kind, by=count)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return self.registry.text()
