"""Looks at one running engine again and again: whether it answers, and how loaded it says it is.

Law: the looks are the only ones. No request asks an engine for its health, and no look lasts longer, or reads more,
than a fixed bound.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx
import trio

from p2p.base.limits import ENGINE_WATCH_S
from p2p.base.serving_limits import MAX_METRICS, METRICS_TIMEOUT_S
from p2p.inference.vllm.engine import Look, http_client
from p2p.scheduling.metrics import Metrics, parse_metrics

MISSES = 3  # unanswered looks in a row until a server that still listens is taken back: one may fall into a prefill


async def watch(url: str, observe: Callable[[Metrics], None]) -> None:
    """Return when nobody listens at `url` any more, or MISSES looks in a row had no answer. observe: is told what each
    look found."""
    async with http_client(url, "", httpx.Timeout(METRICS_TIMEOUT_S)) as http:
        missed = 0
        while missed < MISSES:
            found = await look(http)
            if found is Look.GONE:
                return
            if isinstance(found, Metrics):
                missed = 0
                observe(found)
            else:
                missed += 1
            await trio.sleep(ENGINE_WATCH_S)


async def look(http: httpx.AsyncClient) -> Metrics | Look:
    """The engine's load. Metrics() from an engine that answers and shows none, which not only vLLM is."""
    try:
        with trio.fail_after(METRICS_TIMEOUT_S):
            if (await http.get("/health")).status_code != 200:
                return Look.SILENT
            return parse_metrics(await _text(http))
    except httpx.NetworkError:  # what answers next may be another server
        return Look.GONE
    except (httpx.HTTPError, httpx.StreamError, trio.TooSlowError):
        return Look.SILENT


async def _text(http: httpx.AsyncClient) -> str:
    """The first MAX_METRICS bytes of /metrics; '' where there is no such page."""
    raw = bytearray()
    async with http.stream("GET", "/metrics") as answer:
        if answer.status_code != 200:
            return ""
        async for chunk in answer.aiter_bytes():
            raw += chunk
            if len(raw) >= MAX_METRICS:
                break
    return raw[:MAX_METRICS].decode("utf-8", "replace")
