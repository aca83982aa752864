"""serve: run one peer. Law: says joining, loading, ready; ends cleanly on SIGTERM and SIGINT."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError
from p2p.base.files import exists, keep_private
from p2p.cli.words import whole

if TYPE_CHECKING:
    from p2p.peer.roles import Roles


def register(commands: Any) -> None:
    add_options(commands.add_parser("serve", help="run a peer"))


def add_options(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--dir", type=Path, required=True)
    serve.add_argument("--bootstrap", action="append", default=[], metavar="MULTIADDR")
    serve.add_argument("--listen", action="append", default=[], metavar="MULTIADDR")
    serve.add_argument("--ml-node", metavar="URL", help="a running vLLM with the tape plugin: http://... or unix:/PATH")
    serve.add_argument("--model", type=Path, metavar="PATH", help="weights: start and supervise an own engine")
    serve.add_argument("--tokenizer", type=Path, metavar="PATH", help="the model's tokenizer.json, beside an --ml-node; texts are signed for with it")
    serve.add_argument("--engine", choices=("vllm", "torch"), help="what runs --model: vLLM (default), or plain torch in this process")
    serve.add_argument("--engine-threads", type=whole(1, 1_000_000), metavar="N", help="threads of the torch engine (default: all cores)")
    serve.add_argument("--tensor-parallel", type=whole(1, 1024), default=1)
    serve.add_argument("--pipeline-parallel", type=whole(1, 1024), default=1)
    serve.add_argument("--engine-flag", action="append", default=[], help="passed to vLLM as it is; may be repeated")
    serve.add_argument("--checkpoint", metavar="HEIGHT:BLOCK_ID", help="a block known from somebody you trust: no other history below it")
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="of DIR/log/folkmoot.log (or FOLKMOOT_LOG_LEVEL; info)")
    serve.add_argument("--log-format", choices=("text", "json"), help="of its lines (or FOLKMOOT_LOG_FORMAT; text)")
    serve.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.peer.roles import Roles

    return run_peer(options, Roles())


def run_peer(options: argparse.Namespace, roles: Roles) -> int:
    from p2p.peer.config import load_config

    flags = list(options.engine_flag)
    for name, count in (("tensor", options.tensor_parallel), ("pipeline", options.pipeline_parallel)):
        if count < 1:
            raise ConfigError("at least 1", field=f"{name}_parallel")
        flags += [f"--{name}-parallel-size", str(count)] if count > 1 else []
    config = load_config(
        options.dir, bootstrap=tuple(options.bootstrap), listen=tuple(options.listen), ml_node=options.ml_node,
        model_path=options.model, tokenizer=options.tokenizer, engine_flags=tuple(flags), engine=options.engine,
        engine_threads=options.engine_threads,
        checkpoint=options.checkpoint,
        log_level=options.log_level or os.environ.get("FOLKMOOT_LOG_LEVEL"),
        log_format=options.log_format or os.environ.get("FOLKMOOT_LOG_FORMAT"),
    )
    if not exists(options.dir / "genesis.cbor"):
        raise ConfigError(f"{options.dir / 'genesis.cbor'} is missing; get it from whoever runs the network", field="genesis")
    import signal

    import trio

    from p2p.machine import logs
    from p2p.peer.node import run_node

    keep_private()
    logs.configure(options.dir / "log", config.log_level, config.log_format)

    def report(state: str, text: str) -> None:
        print(json.dumps({"state": state, "text": text}) if options.json else f"{state:8} {text}", flush=True)

    async def until_signal() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def peer() -> None:
                    await run_node(config, report, roles)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(peer)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    return

    from p2p.cli.tasks import run_async

    run_async(until_signal)
    return 0
