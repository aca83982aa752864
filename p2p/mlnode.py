"""The ML node behind one peer: an own vLLM that is supervised here, or a running one by URL. Law: ready means it answered.

Yields (engine for jobs, engine for checks, end-of-sequence ids). They differ only for the test networks' named villains.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from p2p.config import NodeConfig
from p2p.errors import ConfigError
from p2p.inference.cheats import AlteredPromptEngine
from p2p.inference.engine import Engine
from p2p.inference.vllm_engine import VllmClient
from p2p.inference.vllm_server import vllm_server


@asynccontextmanager
async def open_ml_node(
    config: NodeConfig, progress: Callable[[str], None]
) -> AsyncIterator[tuple[Engine, Engine, frozenset[int]]]:
    """Start or find the ML node, wait until it answers, yield its engines."""
    if config.model_path is not None:
        log_file = config.directory / "log" / "vllm.log"
        async with vllm_server(
            config.model_path, served_name=config.model, log=log_file, flags=config.engine_flags, progress=progress
        ) as url:
            yield await _engines(config, url, progress)
        return
    if config.ml_node is None:
        raise ConfigError("give an ML node's URL or a model's path", field="ml_node")
    yield await _engines(config, config.ml_node, progress)


async def _engines(config: NodeConfig, url: str, progress: Callable[[str], None]) -> tuple[Engine, Engine, frozenset[int]]:
    client = VllmClient(url, config.model)
    while not await client.health():
        progress(f"waiting for the ML node at {url}")
        await trio.sleep(1.0)
    honest: Engine = client
    engine: Engine = AlteredPromptEngine(client) if config.cheat == "wrong-prompt" else honest
    return engine, honest, await client.eos_ids()
