"""verify-header: the light client. It trusts a header without the blocks before it.

Law: what a peer answers is checked here, signature by signature.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.cli import questions
from p2p.cli.arguments import MAX_HEIGHT, SECONDS_A_DAY, default_dir, header_id, number, read_genesis, whole
from p2p.cli.output import show

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.cli.questions import Ask
    from p2p.consensus.light import Facts, LightBlock

MAX_DAYS = 36_500.0
USE = "to know the network and its first validators"  # of the genesis file


def register(commands: Any) -> None:
    verify = commands.add_parser("verify-header")
    verify.add_argument("height", type=whole(1, MAX_HEIGHT), metavar="HEIGHT", help="the header to check")
    add_options(verify)
    verify.set_defaults(run=run)


def add_options(command: argparse.ArgumentParser, *names: str) -> None:
    """Which peer is asked, and from which header trust begins. names: more names of --trusted, before it."""
    command.add_argument(
        "--dir", type=Path, default=default_dir(),
        help="the folder with genesis.cbor, and of the peer that is asked (default: %(default)s)",
    )
    command.add_argument("--peer", metavar="MULTIADDR", help="ask this peer instead of the one that runs in --dir")
    command.add_argument(
        *names, "--trusted", dest="trusted", metavar="HEIGHT:BLOCK_ID",
        help="a header that you trust, as `folkmoot block` prints it (default: the genesis file)",
    )
    command.add_argument(
        "--period-days", type=number(0.001, MAX_DAYS), default=14.0, metavar="DAYS",
        help="for how many days a header stays trusted (default: %(default)g)",
    )


def run(options: argparse.Namespace) -> int:
    genesis = read_genesis(options.dir, USE)
    way = questions.asking(
        options.dir, options.peer, genesis.network, lambda ask: headers_to(options.height, options, genesis, ask)
    )
    rows = [
        {
            "height": block.header.height, "block_id": block.header.block_id.hex(), "time_ms": block.header.time_ms,
            "app_hash": block.header.app_hash.hex(), "signatures": len(block.certificate.signatures),
            "validators": len(block.validators),
        }
        for block in way
    ]
    show(options, {"trusted": rows}, lambda: _readable(options.height, rows))
    return 0


def _readable(height: int, rows: list[dict[str, Any]]) -> str:
    lines = [
        f"trusted  {row['height']:>8}  {row['block_id']}  {row['signatures']} of {row['validators']} signatures"
        for row in rows
    ]
    return "\n".join([*lines, f"header {height} is decided; its state before is {rows[-1]['app_hash']}"])


def light(ask: Ask, height: int, peer: str = "asked") -> LightBlock:
    """The light block of `height` in a peer's answer. Raises RemoteProtocolError where the answer is none."""
    from p2p.base.codec import unpack
    from p2p.consensus.light import LightBlock
    from p2p.wire.answers.blocks import Light
    from p2p.wire.answers.reading import read

    answer = read(Light, ask({"op": "light", "height": height}), "light", peer)
    return unpack(LightBlock, bytes.fromhex(answer.light))


def trusting_ms(options: argparse.Namespace) -> int:
    """For how many milliseconds a header stays trusted (--period-days)."""
    days: float = options.period_days
    return round(days * SECONDS_A_DAY * 1000)


def headers_to(target: int, options: argparse.Namespace, genesis: Genesis, ask: Ask) -> list[LightBlock]:
    """The headers that become trusted on the way to `target`, from --trusted (not among them) or the genesis file.

    Raises InvalidRequest where the way would lead backwards, RemoteProtocolError where the peer's headers do not hold.
    """
    from p2p.consensus.light import follow

    first = light(ask, header_id(options.trusted)[0]) if options.trusted else None
    start = _start(options, genesis, first)
    if target <= start.height:
        raise InvalidRequest(f"give a height above {start.height}, that of the trusted header", field="height")
    steps = follow(start, target, genesis.network, time.time_ns() // 1_000_000, trusting_ms(options))
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(light(ask, wanted))
    except StopIteration as done:
        way: list[LightBlock] = done.value
        return way


def _start(options: argparse.Namespace, genesis: Genesis, block: LightBlock | None) -> Facts:
    """What is trusted to begin with. block: the one at --trusted's height, as the peer gives it."""
    from p2p.consensus.light import facts_of, genesis_facts

    if block is None:
        return genesis_facts(genesis)
    _, block_id = header_id(options.trusted)
    if block.header.block_id.hex() != block_id:
        raise RemoteProtocolError(f"this peer's header {block.header.height} is not the one you trust", field="trusted")
    return facts_of(block, genesis.network)
