"""One of the two servers that are compared, and one streamed answer of it.

Law: times begin where the request is sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import trio

from p2p.peer.config import DEFAULT_MODEL

ANSWER_S = 300.0  # the longest wait for a piece of an answer


class Refused(RuntimeError):
    """The server has too much to do, and says so: with 429 or 503, or at the end of a stream that waited too long."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """One streamed answer."""

    first_s: float  # to the first text
    took_s: float
    tokens: int
    text: str
    inference: str  # its id; empty from vLLM
    timing: str  # the header Server-Timing
    begun_s: float  # on the machine's monotonic clock


@dataclass(frozen=True, slots=True)
class Server:
    """A URL and its key."""

    name: str
    url: str
    key: str
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=ANSWER_S))

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def stream(self, messages: Sequence[dict[str, str]], tokens: int) -> Streamed:
        """One answer of so many tokens. Returns when it was checked, which its times do not have: here its validators
        use the same vLLM, and would slow the next one. Raises Refused; RuntimeError for another error."""
        body = {
            "model": DEFAULT_MODEL, "messages": list(messages), "max_tokens": tokens, "stream": True,
            "temperature": 0.7, "min_tokens": tokens, "stream_options": {"include_usage": True},
        }
        begun, first, pieces, counted = time.monotonic(), 0.0, list[str](), 0
        asking = self.http.stream("POST", f"{self.url}/v1/chat/completions", json=body, headers=self.headers)
        async with asking as answer:
            if answer.status_code in (429, 503):
                raise Refused(self.name)
            if answer.status_code != 200:
                raise RuntimeError(f"{self.name}: {answer.status_code} {(await answer.aread())[:200]!r}")
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise Refused(f"{self.name}: {event['error']}")
                counted = (event.get("usage") or {}).get("completion_tokens", counted)
                choices = event.get("choices") or [{}]
                if text := (choices[0].get("delta") or {}).get("content"):
                    first = first or time.monotonic() - begun
                    pieces.append(text)
            inference = answer.headers.get("x-folkmoot-inference", "")
        took = time.monotonic() - begun
        if inference:
            await self.checked(inference)
        timing = answer.headers.get("server-timing", "")
        return Streamed(first, took, counted, "".join(pieces), inference, timing, begun)

    async def checked(self, inference: str) -> None:
        """Returns when the network has done with the inference."""
        while True:
            found = await self.http.get(f"{self.url}/v1/folkmoot/inferences/{inference}", headers=self.headers)
            if found.status_code == 200 and found.json()["end_height"]:
                return
            await trio.sleep(0.2)


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]
