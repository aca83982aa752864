"""A peer that lies, in its own process, over real libp2p; it takes JSON lines on stdin (test_lies.py).

FAKE: its chain is decided by its own hand, with the keys of all validators. `lie` chooses what its next answers are
(lies.py), `says` what it makes of answers to queries, `busy` how often it refuses a request as an agent that is late.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from p2p.base.codec import decode, encode, unpack
from p2p.base.errors import FolkmootError, Overloaded
from p2p.base.types import SignedRequest
from p2p.chain.proofs.serving import ServingProof
from p2p.consensus.light import LightBlock
from p2p.gossip.connections.streams import Stream
from p2p.gossip.host import NetworkConfig, open_network
from p2p.ledger.participants.serving import ServingSet
from p2p.ledger.state.records import Account
from p2p.wire.failures import failure
from p2p.wire.frames import Answer, Ask, Query, pack_frame, receive_frame
from tests.client.test_tip_proof import CLIENT, PEER, Liar
from tests.interop.lies import HONEST, LIES

LATE = Overloaded("this peer has more requests than it can keep up with", field="agent", retry_after=1)


def light(answer: dict[str, Any], change: Any) -> dict[str, Any]:
    return {**answer, "light": encode(change(unpack(LightBlock, bytes.fromhex(answer["light"])))).hex()}


def fewer(block: LightBlock) -> LightBlock:
    return replace(block, certificate=replace(block.certificate, signatures=block.certificate.signatures[:2]))


def forged(block: LightBlock) -> LightBlock:
    (key, _), *others = block.certificate.signatures
    return replace(block, certificate=replace(block.certificate, signatures=((key, bytes(64)), *others)))


def without_one(answer: dict[str, Any]) -> dict[str, Any]:
    proof = unpack(ServingProof, bytes.fromhex(answer["proof"]))
    nodes = unpack(ServingSet, proof.nodes).nodes[1:]
    return {**answer, "proof": encode(replace(proof, nodes=encode(ServingSet(nodes)))).hex()}


def of_another_state(truth: Liar, answer: dict[str, Any]) -> dict[str, Any]:
    """The proof holds, but not in the state that it names, whose header is decided meanwhile."""
    proof = unpack(ServingProof, bytes.fromhex(answer["proof"]))
    truth.grow(2)
    return {**answer, "proof": encode(replace(proof, height=proof.height + 1)).hex()}


# what is said -> (operation, what becomes of its answer; a liar's true chain is at hand)
SAYINGS: dict[str, tuple[str, Any]] = {
    "another beacon": ("tip", lambda _, a: light(a, lambda b: replace(b, header=replace(b.header, beacon=bytes(32))))),
    "too few signed": ("tip", lambda _, a: light(a, fewer)),
    "a forged signature": ("tip", lambda _, a: light(a, forged)),
    "a height beyond": ("tip", lambda _, a: {**a, "height": a["height"] + 1}),
    "no block": ("tip", lambda _, a: {**a, "light": None}),
    "no number": ("tip", lambda _, a: {**a, "next_nonce": "7"}),
    "a nonce far ahead": ("tip", lambda _, a: {**a, "next_nonce": 10**6}),
    "a high price": ("tip", lambda _, a: {**a, "price_micro": 50 * a["price_micro"]}),
    "no such model": ("tip", lambda _, a: {**a, "price_micro": None}),
    "another account": ("prove", lambda _, a: {**a, "value": encode(Account(10**9, 10**6 - 1, 1)).hex()}),
    "a smaller set": ("serving", lambda _, a: without_one(a)),
    "another state": ("serving", of_another_state),
    "no set": ("serving", lambda _, a: {**a, "proof": ""}),
}


class LyingPeer:
    """What it does now."""

    def __init__(self, folder: Path) -> None:
        self.truth = Liar(folder)
        self.lie, self.busy = HONEST[""], 0
        self.requests: list[SignedRequest] = []

    async def query(self, stream: Stream) -> None:
        frame = await receive_frame(stream, Query)
        assert isinstance(frame, Query)
        try:
            await stream.send(pack_frame(Answer(encode(await self.truth.question(decode(frame.body))))))
        except FolkmootError as error:
            await stream.send(pack_frame(failure(error)))

    async def infer(self, stream: Stream) -> None:
        frame = await receive_frame(stream, Ask)
        assert isinstance(frame, Ask)
        self.requests.append(frame.signed_request)
        if self.busy:
            self.busy -= 1
            await stream.send(pack_frame(failure(LATE)))
            return
        for raw in self.lie.frames(self.truth.chain, frame.signed_request):
            if self.lie.raw is not None and raw[:1] == b"\x80":  # no frame: a length
                await stream._raw.write(raw)
            else:
                await stream.send(raw)

    def told(self, op: str, name: str = "", times: int = 0) -> None:
        if op == "lie":
            self.lie = {**HONEST, **LIES}[name]
        elif op == "says":
            chosen = [SAYINGS[one] for one in name.split(", ")] if name else []
            self.truth.lies = {asked: partial(change, self.truth) for asked, change in chosen}
        elif op == "busy":
            self.busy = times
        if op != "state":
            self.truth.asked.clear()


async def main(folder: Path) -> None:
    peer = LyingPeer(folder)
    genesis = peer.truth.chain.genesis
    (folder / "client").mkdir()
    CLIENT.save(folder / "client" / "account.key")
    (folder / "client" / "genesis.cbor").write_bytes(encode(genesis))
    config = NetworkConfig(PEER, genesis.network, ("/ip4/127.0.0.1/tcp/0",), (), min_connections=0)
    handlers = {"query": peer.query, "infer": peer.infer}
    async with open_network(config, topic_handlers={}, stream_handlers=handlers) as network:
        say(ready=network.addresses()[0], peer=network.peer_id)
        buffer = b""
        async for chunk in trio.lowlevel.FdStream(os.dup(0)):
            buffer += chunk
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                peer.told(**json.loads(line))
                say(
                    asked=peer.truth.asked, nonces=[one.request.client_nonce for one in peer.requests],
                    different=len({one.inference_id for one in peer.requests}),
                    signed=all(one.is_signed() for one in peer.requests), height=peer.truth.chain.height(),
                )


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
