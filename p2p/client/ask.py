"""Asks one peer for an answer.

Law: nothing is signed on the peer's word alone, and nothing it says of the answer is believed that can be checked.
A request goes through signing.py, then stream.py, which ends with the receipt (receipt.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_PROMPT_BYTES
from p2p.base.types import VERSION
from p2p.client.connection import open_to, query
from p2p.client.question import AskSpec
from p2p.client.signing import prepare
from p2p.client.stream import Event, follow
from p2p.gossip.host import Network
from p2p.wire.frames import Ask, pack_frame


async def ask(spec: AskSpec) -> AsyncGenerator[Event, None]:
    """Ask over a connection of its own.

    Events: accepted, executor, busy | failed, token, done (with the receipt). Raises FolkmootError. Iterate within
    `aclosing`: a loop that is left early must end the connection at once, and with it the answer.
    """
    if len(spec.prompt.encode()) > MAX_PROMPT_BYTES:
        raise InvalidRequest(f"the prompt is longer than {MAX_PROMPT_BYTES} bytes", field="prompt")
    async with open_to(spec.peer, spec.network) as network, aclosing(ask_over(network, spec)) as events:
        async for event in events:
            try:
                yield event
            except GeneratorExit:  # through the nursery it would become a group, and hide why the loop was left
                return


async def ask_over(network: Network, spec: AskSpec) -> AsyncGenerator[Event, None]:
    """As `ask`, over an open connection."""

    async def question(body: dict[str, Any]) -> dict[str, Any]:
        return await query(network, spec.agent, body)

    signed, drawn = await prepare(spec, question)
    if spec.on_signed is not None:
        spec.on_signed(signed)
    stream, ended = await network.open_stream(spec.agent, "infer"), False
    try:
        await stream.send(pack_frame(Ask(VERSION, signed, spec.prompt)))
        async for event in follow(stream, spec, signed, drawn, question):
            ended = event["event"] == "done"
            yield event
    finally:
        await (stream.close() if ended else stream.reset())  # a reset tells the agent to stop and to charge for no more
