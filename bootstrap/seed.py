"""`python -m bootstrap.seed`: a peer that only introduces peers to each other.

Law: it holds no chain, serves no model, joins no topic.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import trio

from p2p.base.errors import FolkmootError
from p2p.base.files import keep_private
from p2p.base.keys import Key, NetworkId
from p2p.gossip.host import NetworkConfig, open_network
from p2p.machine import logs
from p2p.machine.logs import FORMATS, LEVELS


async def serve(key: Key, network: NetworkId, listen: tuple[str, ...]) -> None:
    """Run until SIGINT or SIGTERM. Prints `ready MULTIADDR` once it can be dialled."""
    config = NetworkConfig(key, network, listen, (), min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
        print("ready", net.addresses()[0], flush=True)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bootstrap.seed", description=__doc__)
    parser.add_argument(
        "--listen", action="append", required=True, metavar="MULTIADDR",
        help="where it listens, such as /ip4/0.0.0.0/tcp/4001; may be repeated",
    )
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="its key; made when there is none")
    parser.add_argument(
        "--network", required=True, metavar="NAME@HASH", help="the network's id, as `folkmoot status` shows it",
    )
    parser.add_argument(
        "--log-level", choices=LEVELS, default="warning", help="of the log on standard error (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format", choices=FORMATS, default="text", help="of the log's lines (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        keep_private()
        logs.configure(None, arguments.log_level, arguments.log_format)
        if not arguments.key.exists():
            Key.generate().save(arguments.key)
        trio.run(serve, Key.load(arguments.key), NetworkId(arguments.network), tuple(arguments.listen))
    except FolkmootError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
