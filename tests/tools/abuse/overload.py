"""Ten times what the network can do, from clients that do not wait for each other. Law: every request is counted once.

Capacity is measured first, in the same run: as many clients as there are places, each asking again when it has its
answer. Then requests come at ten times that rate, whatever becomes of the earlier ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import httpx
import trio

from tests.tools.abuse.deeds import shown
from tests.tools.abuse.scene import ACCOUNT_JOBS, PATIENCE_S, PEERS, Scene, chat

TOKENS, TIMES = 40, 10  # of an answer; of the capacity
PLACES = ACCOUNT_JOBS * PEERS
GOODPUT = 0.9  # of the capacity
LEAST_RATE = 0.2  # requests a second: a bound for machines that are busy with other things
REFUSED = (429, 503)


@dataclass
class Counted:
    """What became of requests."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    in_time: int = 0  # whole answers before the window closed


async def ask(scene: Scene, http: httpx.AsyncClient, found: Counted, ends: float) -> None:
    try:
        answer = await http.post(
            scene.url + "/v1/chat/completions", json=chat(TOKENS), headers=scene.headers, timeout=PATIENCE_S,
        )
    except httpx.HTTPError as error:
        found.answers[type(error).__name__] += 1
        found.wrong.append(repr(error))
        return
    status = answer.status_code
    found.answers[str(status)] += 1
    if status == 200 and answer.json()["usage"]["completion_tokens"] == TOKENS:
        found.in_time += trio.current_time() < ends
    elif status not in REFUSED or not answer.headers.get("retry-after"):
        found.wrong.append(f"{status} {answer.text[:200]}")


async def capacity(scene: Scene, http: httpx.AsyncClient, seconds: float) -> float:
    """Answers a second."""
    found, began = Counted(), trio.current_time()
    ends = began + seconds

    async def client() -> None:
        while trio.current_time() < ends:
            before = found.in_time
            await ask(scene, http, found, ends)
            if found.in_time == before:
                await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        for _ in range(PLACES):
            nursery.start_soon(client)
    return found.in_time / seconds


async def overload(scene: Scene, seconds: float, most_rate: float = 1000.0) -> str:
    """most_rate: requests a second at most, for a short form."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # each request is another client's
    async with httpx.AsyncClient(limits=limits) as http:
        able = await capacity(scene, http, min(seconds, 60.0))
        rate = min(max(TIMES * able, LEAST_RATE), most_rate)
        before, found = scene.memory(), Counted()
        ends, peak, sent = trio.current_time() + seconds, dict(before), 0
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            while (now := trio.current_time()) < ends:
                while sent < (now - began) * rate:
                    nursery.start_soon(ask, scene, http, found, ends)
                    sent += 1
                peak = {name: max(one, peak[name]) for name, one in scene.memory().items()}
                await trio.sleep(0.1)
    assert not found.wrong, found.wrong[:5]
    assert found.answers.total() == sent
    grown = max(peak[name] - before[name] for name in peak)
    good = found.in_time / seconds
    ratio = good / able if able else 0.0
    text = (
        f"{seconds:.0f} s at {rate:.1f} requests/s (capacity {able:.2f}): {shown(found.answers)}; "
        f"goodput {good:.2f}/s, {ratio:.2f} of capacity; memory at most {grown} MiB more in one process"
    )
    print(text, flush=True)
    assert grown < 256, text
    assert ratio >= GOODPUT or seconds < 60, text
    return text
