"""A client that lies: about its length, its key, the model, and the type of each field of each API."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import trio

from p2p.peer.config import DEFAULT_MODEL
from tests.gateway.test_hostile import BASES, changed, places
from tests.tools.abuse.deeds import exchange, head, shown, statuses
from tests.tools.abuse.scene import Scene, chat

WRONG: Sequence[Any] = ("x", -1, 1e300, None, True, [], {}, [[]], {"type": "x"}, "\u0000", 10**30, [None] * 50)
AT_ONCE = 8
TAKEN = (200, 400, 404, 429)  # 429: a choice of so many that this account may not have them at once


async def wrong_claims(scene: Scene) -> str:
    """Lengths, keys, models."""
    found: dict[str, int] = {}
    body = json.dumps(chat(2)).encode()
    longer = await exchange(scene, head(scene, f"Content-Length: {len(body) + 50}") + body)
    found["a body shorter than said"] = (statuses(longer) or [0])[0]
    shorter = await exchange(scene, head(scene, f"Content-Length: {len(body) - 9}") + body)
    found["a body longer than said"] = statuses(shorter)[0]
    other = await scene.post("/v1/chat/completions", chat(2) | {"model": "gpt-9"})
    found["another model"] = other.status_code
    for name, key in (("no key", ""), ("another key", "sk-" + "0" * 32), ("a key of 20,000 letters", "a" * 20_000)):
        answer = await scene.http.get(scene.url + "/v1/models", headers={"Authorization": f"Bearer {key}".strip()})
        found[name] = answer.status_code
    assert found == {
        "a body shorter than said": 400, "a body longer than said": 400, "another model": 404, "no key": 401,
        "another key": 401, "a key of 20,000 letters": 401,
    }, found
    return "; ".join(f"{name}: {status or 'closed'}" for name, status in found.items())


async def wrong_types(scene: Scene, values: Sequence[Any] = WRONG) -> str:
    """Each field of each API with each wrong value."""
    found, wrong = Counter[str](), list[str]()
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(path: str, body: dict[str, Any], place: tuple[Any, ...], value: Any) -> None:
        async with limiter:
            answer = await scene.post(path, body)
        found[str(answer.status_code)] += 1
        if answer.status_code not in TAKEN or (answer.status_code != 200 and not answer.json()["error"]["message"]):
            wrong.append(f"{path} {place} = {str(value)[:40]!r}: {answer.status_code} {answer.text[:200]}")

    async with trio.open_nursery() as nursery:
        for path, base in BASES.items():
            named = base | {"model": DEFAULT_MODEL, "max_output_tokens" if "responses" in path else "max_tokens": 2}
            for place in places(named):
                for value in values:
                    nursery.start_soon(one, path, changed(named, place, value), place, value)
    assert not wrong, wrong[:10]
    return f"{found.total()} requests: {shown(found)}"
