"""serve: runs one peer.

Law: it says joining, loading, ready. On SIGTERM it drains within a limit; on SIGINT, or a second signal, it ends at
once.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.files import exists, keep_private
from p2p.cli.arguments import SECONDS_A_DAY, default_dir, number, read_genesis, whole

if TYPE_CHECKING:
    from p2p.peer.announcer import Report
    from p2p.peer.config import NodeConfig
    from p2p.peer.node import Node
    from p2p.peer.roles import Roles


# A worker thread that computes may keep the interpreter from the event loop for this long each time that loop gives it
# up for a system call. Python's own value is 5 ms, and a message passes several such calls.
SWITCH_S = 0.0005
DRAIN_S = 8.0  # containers are killed ten seconds after SIGTERM by default
REPLACED_S = 120.0  # for the peer that --replace takes over from, which nobody kills


def register(commands: Any) -> None:
    command = commands.add_parser("serve")
    add_options(command)
    command.set_defaults(run=run)


def add_options(serve: argparse.ArgumentParser) -> None:
    """Add the options of a peer; each that is given replaces a setting of its config.toml."""
    serve.add_argument(
        "--dir", type=Path, default=default_dir(),
        help="the peer's folder, which `folkmoot join` or `folkmoot init` made (default: %(default)s)",
    )
    serve.add_argument(
        "--bootstrap", action="append", default=[], metavar="MULTIADDR", help="a peer to begin with; may be repeated",
    )
    serve.add_argument(
        "--listen", action="append", default=[], metavar="MULTIADDR", help="where it listens; may be repeated",
    )
    serve.add_argument(
        "--ml-node", metavar="URL", help="a running vLLM with the tape plugin: http://HOST:PORT or unix:/PATH",
    )
    serve.add_argument(
        "--model", type=Path, metavar="PATH", help="a model's folder: start an engine for it and keep it running",
    )
    serve.add_argument(
        "--tokenizer", type=Path, metavar="PATH",
        help="the model's tokenizer.json, for --ml-node: texts are signed for with it",
    )
    serve.add_argument(
        "--engine", choices=("vllm", "torch"),
        help="what runs --model: vLLM, or plain torch in this process (default: vllm)",
    )
    serve.add_argument(
        "--engine-threads", type=whole(1, 1_000_000), metavar="N",
        help="threads of the torch engine (default: all cores)",
    )
    for kind in ("tensor", "pipeline"):
        serve.add_argument(
            f"--{kind}-parallel", type=whole(1, 1024), default=1, metavar="N",
            help=f"GPUs that vLLM uses in {kind} parallel (default: %(default)s)",
        )
    serve.add_argument(
        "--engine-flag", action="append", default=[], metavar="FLAG",
        help="passed to vLLM as it is, such as --engine-flag=--seed=7; may be repeated",
    )
    serve.add_argument(
        "--http", metavar="HOST:PORT", help="also serve the APIs of `folkmoot gateway` there, paid by account.key",
    )
    serve.add_argument(
        "--http-key-file", type=Path, metavar="FILE", help="keys that programs must send to --http, one a line",
    )
    serve.add_argument(
        "--metrics", metavar="HOST:PORT",
        help="also answer GET /metrics there, for Prometheus; PORT alone: on this machine only",
    )
    serve.add_argument(
        "--drain-limit", type=number(0, SECONDS_A_DAY), metavar="SECONDS",
        help="on SIGTERM, what is not finished then is broken off "
             f"(default: {DRAIN_S:g}; of the peer that --replace ends: {REPLACED_S:g})",
    )
    serve.add_argument(
        "--replace", action="store_true",
        help="take over from the peer that runs in --dir: begin when it has drained, within --drain-limit",
    )
    serve.add_argument(
        "--checkpoint", metavar="HEIGHT:BLOCK_ID",
        help="a block known from somebody you trust: no other history below it is believed",
    )
    serve.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"),
        help="of DIR/log/folkmoot.log (default: FOLKMOOT_LOG_LEVEL, else info)",
    )
    serve.add_argument(
        "--log-format", choices=("text", "json"), help="of its lines (default: FOLKMOOT_LOG_FORMAT, else text)",
    )


def run(options: argparse.Namespace) -> int:
    from p2p.peer.roles import Roles

    return run_peer(options, Roles())


def run_peer(options: argparse.Namespace, roles: Roles) -> int:
    """Run the peer in --dir with these roles until a signal comes. Raises ConfigError, StorageError."""
    config = read_config(options)
    if not exists(options.dir / "genesis.cbor"):  # the node reads it; here only the sentence for the user
        read_genesis(options.dir, "to join a network", field="genesis")
    import sys

    from p2p.cli.tasks import Logging, run_async

    keep_private()
    sys.setswitchinterval(SWITCH_S)

    def report(state: str, text: str) -> None:
        print(json.dumps({"state": state, "text": text}) if options.json else f"{state:8} {text}", flush=True)

    from p2p.cli.serve_progress import sync_task

    load = [sync_task(lambda text: report("synced", text), quiet=options.json)]
    if options.http is not None:
        from p2p.cli.serve_http import http_task

        load.append(http_task(options.http, options.http_key_file, lambda url: report("http", url)))

    if (metrics := options.metrics or config.metrics) is not None:
        from p2p.cli.serve_metrics import metrics_task

        load.append(metrics_task(metrics, lambda url: report("metrics", url)))
    if options.replace:
        _take_over(options, report)
    run_async(
        until_signal, config, report, roles, load, DRAIN_S if options.drain_limit is None else options.drain_limit,
        log=Logging(options.dir / "log", config.log_level, config.log_format),
    )
    return 0


async def until_signal(
    config: NodeConfig, report: Report, roles: Roles, load: Sequence[Callable[[Node], Awaitable[None]]], drain_s: float,
) -> None:
    """Run a peer. SIGTERM lets it finish what it does within `drain_s`; SIGINT, or a second signal, ends it at once."""
    import signal

    import trio

    from p2p.peer.node import run_node

    running: list[Node] = []

    async def remember(node: Node) -> None:
        running.append(node)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def peer() -> None:
                await run_node(config, report, roles, load=[*load, remember])
                nursery.cancel_scope.cancel()

            nursery.start_soon(peer)
            async for number in signals:
                if number == signal.SIGTERM and running and not running[0].draining.is_begun:
                    running[0].draining.begin(drain_s)
                    continue
                nursery.cancel_scope.cancel()
                return


def _take_over(options: argparse.Namespace, report: Callable[[str, str], None]) -> None:
    """Let the peer that runs in --dir end, if one does. All that this process needs is loaded before, so that few
    heights pass in between: the library of the network alone takes seconds. Raises Unavailable."""
    import p2p.peer.node  # noqa: F401
    from p2p.base.errors import Unavailable
    from p2p.cli.drain import drain
    from p2p.peer.control import call

    try:
        call(options.dir, {"op": "status"})
    except Unavailable:
        return
    report("draining", "the peer that runs here finishes what it does")
    drain(options.dir, REPLACED_S if options.drain_limit is None else options.drain_limit)


def read_config(options: argparse.Namespace) -> NodeConfig:
    """DIR/config.toml with what the options replace. Raises ConfigError."""
    from p2p.peer.config import load_config

    flags = list(options.engine_flag)
    for name, count in (("tensor", options.tensor_parallel), ("pipeline", options.pipeline_parallel)):
        flags += [f"--{name}-parallel-size", str(count)] if count > 1 else []
    return load_config(
        options.dir, bootstrap=tuple(options.bootstrap), listen=tuple(options.listen), ml_node=options.ml_node,
        model_path=options.model, tokenizer=options.tokenizer, engine_flags=tuple(flags), engine=options.engine,
        engine_threads=options.engine_threads, checkpoint=options.checkpoint,
        log_level=options.log_level or os.environ.get("FOLKMOOT_LOG_LEVEL"),
        log_format=options.log_format or os.environ.get("FOLKMOOT_LOG_FORMAT"),
    )
