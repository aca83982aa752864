"""Clients of a test network that do what a well-behaved one does not. Law: the real client's code as far as it goes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.keys import Key
from p2p.base.serving_limits import AGENT_WAIT_S
from p2p.base.types import VERSION, SignedRequest
from p2p.client.ask import ask_over
from p2p.client.connection import query
from p2p.client.events import Event, Token
from p2p.client.question import NO_OVERRIDES, Endpoint, Overrides, Payer, Question
from p2p.client.signing import RequestSigner
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from p2p.wire.frames import Ask, Failure, Frame, pack_frame, parse_frame
from tests.net_lab import Net

PATIENT = 50  # waits for an agent on a busy machine, where what it says of the request is what a test is about


@dataclass(frozen=True)
class Asked:
    """One question of the network's client: the arguments of `ask`."""

    to: Endpoint
    question: Question
    payer: Payer
    overrides: Overrides = NO_OVERRIDES

    def over(self, network: Network, patience: int = PATIENT) -> AsyncGenerator[Event, None]:
        return ask_over(network, self.to, self.question, self.payer, self.overrides, patience=patience)


def asked(net: Net, agent: int = 0, executor: int | None = None, *, max_tokens: int) -> Asked:
    wanted = bytes.fromhex(net.node(executor)) if executor is not None else None
    return Asked(
        Endpoint(net.address(agent), net.genesis), Question(DEFAULT_MODEL, one_message("hello"), max_tokens=max_tokens),
        Payer.load(net.directory / "client"), Overrides(choose_executor=wanted),
    )


@asynccontextmanager
async def connected(net: Net, peer: int, key: Key | None = None) -> AsyncIterator[Network]:
    config = NetworkConfig(key or Key.generate(), net.genesis.network, (), (), expected_size=1, min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
        await network.connect(net.address(peer))
        yield network


async def leave_when(network: Network, one: Asked, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Ask, and break off when `enough` says so; the connection stays."""
    events: list[Event] = []
    answer = one.over(network)
    async for event in answer:
        events.append(event)
        if enough(events):
            break
    await answer.aclose()
    return events


def tokens(events: list[Event]) -> int:
    return sum(isinstance(event, Token) for event in events)


async def signed_for(network: Network, one: Asked) -> SignedRequest:
    """A request as the client would sign it now."""
    signer = RequestSigner(one.to, one.question, one.payer, one.overrides, partial(query, network, one.to.peer_id))
    ground = await signer.ground()
    return (await signer.sign(ground, await signer.terms(ground)))[0]


async def say(network: Network, peer: str, frame: Frame) -> list[Frame]:
    """One frame on a new `infer` stream; what comes back, to the end."""
    stream = await network.open_stream(peer.rsplit("/p2p/", 1)[-1], "infer")
    answers: list[Frame] = []
    try:
        await stream.send(pack_frame(frame))
        while not answers or type(answers[-1]).__name__ not in ("Done", "Failure"):
            answers.append(parse_frame(await stream.receive(timeout_s=30)))
    finally:
        await stream.close()
    return answers


async def ask_raw(network: Network, peer: str, signed: SignedRequest, prompt: str) -> list[Frame]:
    """The agent's answer to the request itself: an agent that is late refuses before it looks at one."""
    for _ in range(PATIENT):
        answers = await say(network, peer, Ask(VERSION, signed, encode(one_message(prompt))))
        last = answers[-1]
        if not (isinstance(last, Failure) and (last.code, last.field) == ("overloaded", "agent")):
            return answers
        await trio.sleep(AGENT_WAIT_S)
    raise AssertionError("the agent never looked at the request")


def run(work: Callable[[], Any]) -> Any:
    return trio.run(work)
