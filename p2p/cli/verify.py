"""verify-header: trust a header without the blocks before it. Law: what a peer answers is checked here, signature by signature."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from p2p.base.errors import ConfigError, InvalidRequest, RemoteProtocolError
from p2p.cli.words import default_dir, multiaddr, number, peer_of, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p.base.genesis import Genesis
    from p2p.consensus.light import Facts, LightBlock

    Ask = Callable[[dict[str, Any]], dict[str, Any]]

T = TypeVar("T")
MAX_HEIGHT, MAX_DAYS = 2**32 - 1, 36_500.0


def register(commands: Any) -> None:
    verify = commands.add_parser("verify-header", help="check a header's certificate from one that is trusted")
    verify.add_argument("height", type=whole(1, MAX_HEIGHT))
    verify.add_argument("--dir", type=Path, default=default_dir(), help="where genesis.cbor is, and the peer that is asked")
    verify.add_argument("--peer", metavar="MULTIADDR", help="ask this peer instead of the one that runs in --dir")
    verify.add_argument("--trusted", metavar="HEIGHT:BLOCK_ID", help="a header you trust; the genesis file when left out")
    verify.add_argument("--period-days", type=number(0.001, MAX_DAYS), default=14.0, help="how long a header stays trusted")
    verify.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    genesis = read_genesis(options.dir)
    way = asking(options.dir, options.peer, genesis, lambda ask: drive(options, genesis, options.height, ask))
    rows = [
        {"height": b.header.height, "block_id": b.header.block_id.hex(), "time_ms": b.header.time_ms, "app_hash": b.header.app_hash.hex(),
         "signatures": len(b.certificate.signatures), "validators": len(b.validators)}
        for b in way
    ]
    if options.json:
        print(json.dumps({"trusted": rows}))
    else:
        for row in rows:
            print(f"trusted  {row['height']:>8}  {row['block_id']}  {row['signatures']} of {row['validators']} signatures")
        print(f"header {options.height} is decided; its state before is {rows[-1]['app_hash']}")
    return 0


def read_genesis(directory: Path) -> Genesis:
    """Raises ConfigError when the file is not there."""
    from p2p.base.genesis import load_genesis

    file = directory / "genesis.cbor"
    if not file.exists():
        raise ConfigError(f"{file} is missing: it says which network and who began it", field="dir")
    return load_genesis(file)


def light(answer: dict[str, Any], peer: str = "asked") -> LightBlock:
    """The light block in a peer's answer. Raises RemoteProtocolError when it is none."""
    from p2p.base.codec import unpack
    from p2p.consensus.light import LightBlock
    from p2p.wire.answers.blocks import Light
    from p2p.wire.answers.reading import read

    return unpack(LightBlock, bytes.fromhex(read(Light, answer, "light", peer).light))


def _start(options: argparse.Namespace, genesis: Genesis, block: LightBlock | None) -> Facts:
    """What is trusted to begin with. block: the one at --trusted's height, as the peer gives it."""
    from p2p.consensus.light import facts_of, genesis_facts

    if block is None:
        return genesis_facts(genesis)
    _, block_id = trusted_header(options.trusted)
    if block.header.block_id.hex() != block_id:
        raise RemoteProtocolError(f"this peer's header {block.header.height} is not the one you trust", field="trusted")
    return facts_of(block, genesis.network)


def trusted_header(text: str | None) -> tuple[int, str]:
    """(height, block id in hexadecimal digits) of HEIGHT:BLOCK_ID. Raises InvalidRequest."""
    height, _, block_id = (text or "").partition(":")
    right = height.isascii() and height.isdigit() and len(height) <= 10 and len(block_id) == 64 and set(block_id.lower()) <= set("0123456789abcdef")
    if not right or not 1 <= int(height) <= MAX_HEIGHT:
        raise InvalidRequest("HEIGHT:BLOCK_ID is wanted, as `folkmoot block` prints them: a number and 64 hexadecimal digits", field="trusted")
    return int(height), block_id.lower()


def drive(options: argparse.Namespace, genesis: Genesis, target: int, ask: Ask) -> list[LightBlock]:
    """The headers trusted on the way to `target`, from options.trusted (that one is not among them) or the genesis file."""
    from p2p.consensus.light import follow

    def fetch(height: int) -> LightBlock:
        return light(ask({"op": "light", "height": height}))

    first = fetch(trusted_header(options.trusted)[0]) if options.trusted else None
    start = _start(options, genesis, first)
    if target <= start.height:
        raise InvalidRequest(f"the trusted header is {start.height}; ask for a later one", field="height")
    steps = follow(start, target, genesis.network, time.time_ns() // 1_000_000, round(options.period_days * 86_400_000))
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(fetch(wanted))
    except StopIteration as done:
        way: list[LightBlock] = done.value
        return way


def asking(directory: Path, address: str | None, genesis: Genesis | None, work: Callable[[Ask], T]) -> T:
    """What `work` makes of a peer's answers: of the one at `address`, else of the one that runs in `directory`. Over the network it is one
    connection: the work runs in a thread, the questions in the event loop. genesis: of the network of the one at `address`."""
    if address is None or genesis is None:
        from p2p.peer.control import call

        return work(lambda request: call(directory, request))
    peer = peer_of(multiaddr(address))
    import trio

    from p2p.base.keys import Key
    from p2p.client.connection import query
    from p2p.gossip.host import NetworkConfig, open_network

    async def go() -> T:
        config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
        async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
            await network.connect(address)
            return await trio.to_thread.run_sync(work, lambda request: trio.from_thread.run(query, network, peer, request))

    from p2p.cli.tasks import run_async

    return run_async(go)
