"""The ML node behind one peer: an own vLLM that is supervised here, a running one by URL, or plain torch in this process. Law: ready means
it answered.

Yields (engine for jobs, engine for checks, end-of-sequence ids, stack class). The engines differ only for the test networks' cheats
(p2p/attacks).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from p2p import attacks
from p2p.config import NodeConfig
from p2p.errors import ConfigError
from p2p.genesis import ModelSpec
from p2p.inference.engine import Engine
from p2p.inference.kernels import stack_name
from p2p.inference.model import check_tokenizer, read_tokenizer, tokenizer_file
from p2p.inference.vllm_engine import VllmClient
from p2p.inference.vllm_server import vllm_server
from p2p.types import StackClass
from p2p.verification.text import Vocabulary, parse_vocabulary

Found = tuple[Engine, Engine, frozenset[int], str]


async def read_words(config: NodeConfig, spec: ModelSpec | None) -> tuple[bytes, Vocabulary] | None:
    """(hash of the tokenizer.json, vocabulary); it must be the registry's, then every peer makes the same text of the same tokens. None: there is
    none here, and this peer serves nobody. Raises ConfigError."""
    file = tokenizer_file(config.tokenizer, config.model_path, config.model)
    if file is None:
        return None
    raw = await trio.to_thread.run_sync(read_tokenizer, file)
    found = hashlib.sha256(raw).digest()
    if spec is not None:
        check_tokenizer(found, spec)
    return found, await trio.to_thread.run_sync(parse_vocabulary, raw)


@asynccontextmanager
async def open_ml_node(config: NodeConfig, progress: Callable[[str], None]) -> AsyncIterator[Found]:
    """Start or find the ML node, wait until it answers, yield its engines."""
    if config.engine == "torch":
        async with _torch(config, progress) as found:
            yield found
        return
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


async def _engines(config: NodeConfig, url: str, progress: Callable[[str], None]) -> Found:
    client = VllmClient(url, config.model)
    while not await client.health():
        progress(f"waiting for the ML node at {url}")
        await trio.sleep(1.0)
    honest: Engine = VllmClient(config.honest_ml_node, config.model) if config.honest_ml_node else client
    cheat = attacks.get(config.cheat) if config.cheat else None
    engine, checking = (cheat.wrap(client, honest), cheat.checks_with(client, honest)) if cheat else (client, honest)
    stack = await stack_name(honest, StackClass.CPU_BF16)
    if stack == StackClass.CPU_BF16:
        progress("the ML node does not answer the probe of its kernels: its answers are tested as a stranger's until the next start")
    return engine, checking, await client.eos_ids(), stack


@asynccontextmanager
async def _torch(config: NodeConfig, progress: Callable[[str], None]) -> AsyncIterator[Found]:
    """A cheat that runs torch otherwise (an fp8 cache) has a second engine, so that its validator stays honest."""
    from p2p.inference.torch_engine import torch_engine  # torch takes seconds to import

    assert config.model_path is not None  # the configuration says so
    cheat = attacks.get(config.cheat) if config.cheat else None
    options = dict(cheat.torch_options) if cheat else {}
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(torch_engine(config.model_path, threads=config.engine_threads, progress=progress))
        honest: Engine = VllmClient(config.honest_ml_node, config.model) if config.honest_ml_node else own
        inner = own
        if options:
            inner = await stack.enter_async_context(
                torch_engine(config.model_path, threads=config.engine_threads, progress=progress, **options)
            )
        engine, checking = (cheat.wrap(inner, honest), cheat.checks_with(inner, honest)) if cheat else (own, honest)
        yield engine, checking, own.model.eos_ids, own.stack
