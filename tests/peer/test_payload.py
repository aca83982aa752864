"""Privacy on real peers: a payload (the prompt is in it) goes to those with a part in the inference, to nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from p2p.base.keys import Key
from p2p.base.limits import MAX_FRAME
from p2p.base.types import VERSION
from p2p.gossip.host import NetworkConfig, open_network
from p2p.peer.control import call
from p2p.wire.frames import Failure, Payload, PayloadWanted, pack_frame, parse_frame
from tests.net_lab import Net

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("net"), 4)
    yield made
    made.close()


def fetch(net: Net, key: Key, peer: int, inference_id: str) -> object:
    """What `peer` answers on its payload stream to a peer with this `key`."""
    found: list[object] = []

    async def run() -> None:
        async with open_network(
            NetworkConfig(key, net.genesis.network, (), (), expected_size=4, min_connections=0), topic_handlers={},
            stream_handlers={}
        ) as network:
            address = net.address(peer)
            await network.connect(address)
            stream = await network.open_stream(address.rsplit("/p2p/", 1)[1], "payload")
            await stream.send(pack_frame(PayloadWanted(VERSION, bytes.fromhex(inference_id))))
            found.append(parse_frame(await stream.receive(limit=MAX_FRAME)))
            await stream.close()

    trio.run(run)
    return found[0]


def test_a_stranger_gets_no_payload_and_validators_do(net: Net) -> None:
    receipt = net.events(max_tokens="6")[-1]["receipt"]
    found = net.final(receipt["inference_id"])
    assert found["status"] == "VALIDATED", "its validators had the payload"
    assert all(v["tokens"] == 6 for v in found["verdicts"])
    executor = next(i for i in range(4) if net.node(i) == found["executor"])
    answer = fetch(net, Key.generate(), executor, receipt["inference_id"])
    assert not isinstance(answer, Payload)
    assert isinstance(answer, Failure)
    assert answer.code == "not_found"
    conduct = call(net.folders[0], {"op": "verification"})
    assert conduct["honest"] == 1
    assert sum(row["checked"] for row in conduct["participants"]) == 1
