"""Asks one peer for an answer.

Law: nothing is signed on the peer's word alone, and nothing it says of the answer is believed that can be checked.
A request goes through signing.py, then stream.py, which ends with the receipt (receipt.py).

An agent whose process is late refuses requests at its entrance (peer/entrance.py) before it looks at them. Only this
refusal is waited for, because it costs nothing and passes; any other says something about the request or its account.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import trio

from p2p.base.errors import InvalidRequest, Overloaded
from p2p.base.limits import AGENT_WAIT_S, AGENT_WAITS, MAX_AGENT_WAIT, MAX_PROMPT_BYTES
from p2p.base.types import VERSION, SignedRequest
from p2p.client.connection import open_to, query
from p2p.client.draw_check import DrawCheck
from p2p.client.question import AskSpec
from p2p.client.signing import prepare
from p2p.client.stream import Event, follow
from p2p.client.tip_proof import Question
from p2p.gossip.host import Network
from p2p.wire.frames import Ask, pack_frame


async def ask(spec: AskSpec, *, patience: int = AGENT_WAITS) -> AsyncGenerator[Event, None]:
    """Ask over a connection of its own.

    Events: waiting, accepted, executor, busy | failed, token, done (with the receipt). patience: how often an agent
    that has too many requests is waited for. Raises FolkmootError. Iterate within `aclosing`: a loop that is left early
    must end the connection at once, and with it the answer.
    """
    if len(spec.prompt.encode()) > MAX_PROMPT_BYTES:
        raise InvalidRequest(f"the prompt is longer than {MAX_PROMPT_BYTES} bytes", field="prompt")
    async with (
        open_to(spec.peer, spec.network) as network, aclosing(ask_over(network, spec, patience=patience)) as events,
    ):
        async for event in events:
            try:
                yield event
            except GeneratorExit:  # through the nursery it would become a group, and hide why the loop was left
                return


async def ask_over(network: Network, spec: AskSpec, *, patience: int = AGENT_WAITS) -> AsyncGenerator[Event, None]:
    """As `ask`, over an open connection."""

    async def question(body: dict[str, Any]) -> dict[str, Any]:
        return await query(network, spec.agent, body)

    waits, signed_at, nonce = 0, -1, spec.nonce  # signed_at: waits before it was signed
    while True:
        if signed_at < 0:
            signed, drawn = await prepare(replace(spec, nonce=nonce), question)
            if spec.on_signed is not None:
                spec.on_signed(signed)
            nonce, signed_at = signed.request.client_nonce, waits
        taken = False
        try:
            async with aclosing(_answer(network, spec, signed, drawn, question)) as events:
                async for event in events:
                    taken = True
                    yield event
            return
        except Overloaded as error:
            if taken or error.field != "agent" or waits >= patience or error.retry_after > MAX_AGENT_WAIT:
                raise
            refused = error
        except InvalidRequest as error:
            if taken or error.field != "draw_height" or signed_at == waits:
                raise
            signed_at = -1  # its draw grew old meanwhile: it is signed again, with the same nonce, so it is paid once
            continue
        waits += 1
        # a random part, so that those who were refused together do not come back together
        wait_s = AGENT_WAIT_S * max(1, refused.retry_after) * random.uniform(1, 1.5)
        yield {"event": "waiting", "wait_s": round(wait_s, 3), "reason": refused.message, "left": patience - waits}
        await trio.sleep(wait_s)


async def _answer(
    network: Network, spec: AskSpec, signed: SignedRequest, drawn: DrawCheck, question: Question
) -> AsyncGenerator[Event, None]:
    """Send the request once, and follow its answer."""
    stream, ended = await network.open_stream(spec.agent, "infer"), False
    try:
        await stream.send(pack_frame(Ask(VERSION, signed, spec.prompt)))
        async for event in follow(stream, spec, signed, drawn, question):
            ended = event["event"] == "done"
            yield event
    finally:
        await (stream.close() if ended else stream.reset())  # a reset tells the agent to stop and to charge for no more
