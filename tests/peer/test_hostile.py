"""Garbage on every stream and topic of real peers: a typed error or a reset for the sender, and every peer continues
serving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest
import trio

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Key
from p2p.base.limits import MAX_FRAME
from p2p.base.types import VERSION
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.control import call
from p2p.peer.topic_handlers import TOPICS
from p2p.wire.frames import Failure, parse_frame
from tests.net_lab import Net, until

pytestmark = pytest.mark.network

STREAMS = ("infer", "payload", "sync", "query")
CASES: dict[str, bytes] = {
    "empty": b"", "one byte": b"\xff", "text": b"GET / HTTP/1.1\r\n\r\n", "unknown tag": encode(["nonsense", 1]),
    "unknown version": encode(["payload_wanted", 9, bytes(32)]), "too few fields": encode(["query"]),
    "not canonical": b"\x83\x6epayload_wanted\x18\x01\x58\x20" + bytes(32), "deep": b"\x81" * 500 + b"\x80",
    "huge array head": b"\x9b" + b"\xff" * 8, "indefinite": b"\x9f\xff", "wrong side": encode(["done", [], b""]),
    "float": b"\xfb" + bytes(8), "tag": b"\xc1\x00", "query not a map": encode(["query", VERSION, encode([1, 2])]),
    "query unknown op": encode(["query", VERSION, encode({"op": "reset"})]),
    "private op": encode(["query", VERSION, encode({"op": "peers"})]),
    "sync far": encode(["sync_wanted", VERSION, 2**62]),
}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("net"), 4)
    yield made
    made.close()


async def attack_stream(network: Network, address: str, short: str, cases: list[bytes]) -> list[str]:
    """Some cases on one stream; the codes of what came back."""
    peer, answers = address.rsplit("/p2p/", 1)[1], []
    for case in cases:
        try:
            stream = await network.open_stream(peer, short)
            await stream.send(case)
            frame = parse_frame(await stream.receive(timeout_s=5))
            answers.append(frame.code if isinstance(frame, Failure) else type(frame).__name__)
            await stream.close()
        except FolkmootError as error:
            answers.append(error.code)
            await network.connect(address) if peer not in network.connected() else None
    return answers


async def drop_everywhere(network: Network, address: str) -> None:
    """Open and leave: before a frame, inside a frame's length, inside its body."""
    peer = address.rsplit("/p2p/", 1)[1]
    for short in STREAMS:
        for raw in (b"", b"\xff", b"\x20abc"):
            try:
                stream = await network.open_stream(peer, short)
                await stream.agreed()
                if raw:
                    await stream._raw.write(raw)
                await stream.reset()
            except FolkmootError:
                await network.connect(address)


def attack(net: Net) -> list[str]:
    found: list[str] = []

    steps: list[Callable[[Network, str], Awaitable[list[str] | None]]] = [drop_everywhere]
    cases = list(CASES.values())
    for short in STREAMS:  # a key for every few of them: whoever sends them all is banned before the end
        steps += [partial(attack_stream, short=short, cases=cases[at : at + 8]) for at in range(0, len(cases), 8)]

    async def run() -> None:
        for number in range(4):
            address = net.address(number)
            for step in steps:
                config = NetworkConfig(
                    Key.generate(), net.genesis.network, (), (), topics=TOPICS, expected_size=4, min_connections=0
                )
                async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
                    await network.connect(address)
                    found.extend(await step(network, address) or ())
                    if step is drop_everywhere:
                        for topic in TOPICS:
                            for case in cases:
                                await network.publish(topic, case or b"\x00")
                    await trio.sleep(0.2)

    trio.run(run)
    return found


def test_every_peer_goes_on_serving_after_garbage_everywhere(net: Net) -> None:
    codes = attack(net)
    assert {"cbor", "shape", "version"} <= set(codes), set(codes)
    top = max(net.height(peer) for peer in range(4))
    until(lambda: min(net.height(peer) for peer in range(4)) >= top + 2)
    for peer in range(4):
        assert call(net.folders[peer], {"op": "status"})["state"] == "ready"
    events = net.events(max_tokens="5", peer=2)
    assert net.final(events[-1]["receipt"]["inference_id"])["status"] == "VALIDATED"


def test_an_oversized_frame_is_refused_and_the_peer_lives(net: Net) -> None:
    async def run() -> None:
        config = NetworkConfig(Key.generate(), net.genesis.network, (), (), expected_size=4, min_connections=0)
        async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
            address = net.address(1)
            await network.connect(address)
            stream = await network.open_stream(address.rsplit("/p2p/", 1)[1], "infer")
            await stream.agreed()
            await stream._raw.write(b"\xff\xff\xff\xff\x0f")
            answer = parse_frame(await stream.receive(timeout_s=5))
            assert isinstance(answer, Failure)
            assert answer.code == "too_large"

    trio.run(run)
    assert MAX_FRAME < 2**32
    assert call(net.folders[1], {"op": "status"})["state"] == "ready"
