"""Other libraries on our topics, in real processes: messages, GRAFT and PRUNE both ways.

py-libp2p's pubsub (library_peer.py), and js-libp2p where Node.js is (tests/interop).
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.node_js import PEER, program

from .attacks import TOPIC
from .lab import Peer, peers, seed, started

pytestmark = pytest.mark.network
BACKOFF_S = 3
MESSAGES = 20


def command(kind: str) -> list[str]:
    if kind == "py-libp2p":
        return [sys.executable, str(Path(__file__).with_name("library_peer.py"))]
    return program(PEER, "peer.ts")


@asynccontextmanager
async def pair(kind: str, who_dials: str) -> AsyncIterator[tuple[Peer, Peer]]:
    """(ours, theirs), connected."""
    settings: dict[str, Any] = {"seed": seed("theirs").hex(), "topic": TOPIC, "backoff_s": BACKOFF_S}
    ours = {"seed": seed("ours").hex()}
    their_program = command(kind)
    if who_dials == "they dial":
        async with peers(ours) as (our,):
            async with started([*their_program, json.dumps({**settings, "dial": our.address})]) as (their,):
                yield our, their
    else:
        async with started([*their_program, json.dumps(settings)]) as (their,):
            async with peers({**ours, "bootstrap": [their.address]}) as (our,):
                yield our, their


@pytest.mark.parametrize("who_dials", ["they dial", "we dial"])
@pytest.mark.parametrize("kind", ["py-libp2p", "js-libp2p"])
async def test_messages_grafts_and_prunes_go_both_ways(kind: str, who_dials: str) -> None:
    async with pair(kind, who_dials) as (our, their):

        async def meshed() -> None:
            await our.until(lambda state: their.id in state["meshed"])
            await their.until(lambda state: our.id in state["meshed"])

        await meshed()
        ours = [(b"from us %d" % number).hex() for number in range(MESSAGES)]
        theirs = [(b"from them %d" % number).hex() for number in range(MESSAGES)]
        for one, other in zip(ours, theirs, strict=True):
            await our.tell("publish", data=one)
            await their.tell("publish", data=other)
        heard = (await their.until(lambda state: set(ours) <= set(state["got"])))["got"]  # py-libp2p hears itself too
        assert [heard.count(one) for one in ours] == [1] * MESSAGES
        state = await our.until(lambda state: set(theirs) <= set(state["got"]))
        assert sorted(state["got"]) == sorted(theirs)
        assert not state["status"]["banned"]

        await their.tell("prune")  # and none of ours: we hear of it
        await our.until(lambda state: not state["meshed"])
        await meshed()  # once the back-off is over, whoever grafts first

        await our.tell("points", peer=their.id, faults=3)  # LINK-5: then the next heartbeat sends PRUNE
        await their.until(lambda state: not state["meshed"])
        await our.until(lambda state: not state["meshed"])
        await our.tell("points", peer=their.id, faults=0)
        await meshed()
        await their.tell("publish", data=b"still heard".hex())
        await our.until(lambda state: b"still heard".hex() in state["got"])
