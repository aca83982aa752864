"""Checks ask with a priority, answers without one, and a server that takes none serves both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog

from p2p.base.errors import Unavailable
from p2p.base.serving_limits import CHECK_PATIENCE_S
from p2p.base.types import Params
from p2p.inference.vllm.engine import PRIORITY, VllmClient
from p2p.peer.ready_engine import ReadyEngine
from p2p.verification.engine import Job
from tests.lab.attacks.engine import ToyEngine

SCORES = {"choices": [{"prompt_logprobs": [None, {"7": {"logprob": -0.5, "rank": 1}}]}]}
REFUSED = "Got priority 9 but Priority scheduling is not enabled."  # as vLLM said before its version 0.9


def server(answer: Callable[[dict[str, Any]], httpx.Response]) -> tuple[VllmClient, list[dict[str, Any]]]:
    """A client of a server of one function, and what was asked of that."""
    client, asked = VllmClient("http://engine", "m"), []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return answer(asked[-1])

    client._http = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(handle))
    return client, asked


async def test_a_check_says_when_it_is_due_and_nothing_else_has_a_priority() -> None:
    client, asked = server(lambda body: httpx.Response(200, json=SCORES))
    now = time.time()
    await client.by(now + 10).score((1,), (7,), 8)
    await client.by(now + 1000).score((1,), (7,), 8)
    await client.by(now - 1000).score((1,), (7,), 8)
    await client.by(now + 10).replay(Job((1,), 1, Params(), bytes(32), (7,)), 1)
    found = [body[PRIORITY] for body in asked]
    assert found == [found[3], found[1], found[2], found[0]]
    assert now + 10 <= found[0] <= now + 11
    assert found[1] <= time.time() + CHECK_PATIENCE_S + 1, "whoever waits for its scores does not wait that long"
    assert now - 1000 <= found[2] <= now - 999
    await client.score((1,), (7,), 8)  # the beginning of another executor: it is part of an answer
    [_ async for _ in client.generate(Job((1,), 1, Params(), bytes(32)))]
    assert PRIORITY not in asked[4] | asked[5]


async def test_a_server_without_priorities_is_told_of_none_and_its_operator_of_that_once() -> None:
    client, asked = server(
        lambda body: httpx.Response(400, text=REFUSED) if PRIORITY in body else httpx.Response(200, json=SCORES)
    )
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            assert len(await client.by(time.time() + 10).score((1,), (7,), 8)) == 1
    assert [PRIORITY in body for body in asked] == [True, False, False, False]
    (line,) = said
    assert "--scheduling-policy priority" in line["event"]


async def test_other_errors_are_not_taken_for_that() -> None:
    client, asked = server(lambda body: httpx.Response(500, text="priority"))
    with pytest.raises(Unavailable, match="500"):
        await client.by(time.time() + 10).score((1,), (7,), 8)
    client, asked = server(lambda body: httpx.Response(400, text=REFUSED))
    with pytest.raises(Unavailable, match="400"):
        await client.score((1,), (7,), 8)
    assert len(asked) == 1


def test_an_engine_that_has_no_order_is_asked_as_it_is() -> None:
    engine, client = ToyEngine(), VllmClient("http://engine", "m")
    assert ReadyEngine(engine, engine, frozenset()).checks_by(5.0) is engine
    ordered = ReadyEngine(engine, client, frozenset()).checks_by(5.0)
    assert isinstance(ordered, VllmClient)
    assert (ordered._due, ordered._http is client._http, client._due) == (5, True, 0)
