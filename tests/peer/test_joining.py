"""A newcomer registers through its own peer, in one process: real peers, real gossip, the real client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2p.base.genesis import load_genesis
from p2p.base.keys import Domain, Key
from p2p.client.connection import submit_operation
from p2p.ledger.rules.ops import Register, Transfer, consent
from p2p.peer.config import make_config
from p2p.peer.node import Node, run_node
from testnet.generate import Plan, generate

pytestmark = pytest.mark.network
GIFT = 400_000_000


async def test_its_registration_through_its_own_peer_costs_it_no_neighbour(tmp_path: Path) -> None:
    """A validator, and a newcomer that nobody has registered: the order reaches the chain, and neither sends the other
    away."""
    (folder,) = generate(Plan(tmp_path, 1, serving=False, settings=(("empty_block_interval_ms", 400),)))
    new = tmp_path / "newcomer"
    new.mkdir(mode=0o700)
    for name in ("node.key", "account.key"):
        Key.generate().save(new / name)
    (new / "genesis.cbor").write_bytes((folder / "genesis.cbor").read_bytes())
    genesis = load_genesis(new / "genesis.cbor")
    client, owner = Key.load(tmp_path / "client" / "account.key"), Key.load(new / "account.key")
    node = Key.load(new / "node.key")
    nodes: dict[Path, Node] = {}

    async def serve(where: Path, *bootstrap: str) -> None:
        async def known(made: Node) -> None:
            nodes[where] = made

        table = {
            "network": "testnet", "listen": ["/ip4/127.0.0.1/tcp/0"], "bootstrap": list(bootstrap),
            "empty_block_interval_ms": 400
        }
        await run_node(make_config(where, table), lambda state, text: None, load=[known])

    async def when(good: Callable[[], object]) -> None:
        with trio.fail_after(120):
            while not good():
                await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, folder)
        await when(lambda: folder in nodes and nodes[folder].network is not None and nodes[folder].chain.height() > 0)
        nursery.start_soon(serve, new, nodes[folder].status().addresses[0])
        await when(lambda: new in nodes and nodes[new].network is not None and nodes[new].chain.height() > 1)
        own = nodes[new].status().addresses[0]
        paid = await submit_operation(own, genesis, client, Transfer(owner.public, GIFT), wait_s=60)
        await when(lambda: nodes[new].chain.answers.account(owner.public).balance_micro == GIFT)
        body = Register(node.public, (), (), 0, "", node.sign(Domain.NODE, genesis.network, consent(owner.public)))
        taken = await submit_operation(own, genesis, owner, body, wait_s=60)
        assert (paid["state"], taken["state"]) == ("done", "done")
        await when(lambda: all(one.chain.reader.is_registered(node.public) for one in nodes.values()))
        top = nodes[new].chain.height()
        await when(lambda: min(one.chain.height() for one in nodes.values()) >= top + 3)
        for mine, others in ((folder, new), (new, folder)):
            network = nodes[mine].network
            assert network is not None
            assert nodes[others].key.peer_id in network.connected(), "nobody sent the other away"
        nursery.cancel_scope.cancel()
