"""The ML node behind one peer: an own vLLM that is supervised here, a running one by URL, or plain torch in this process. Law: lent only while
it answers; a server, which may be anything, only once it has passed the test of `inference/selftest.py`, and again each time that nobody
listened there. Whatever happens to it, the peer goes on and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.genesis import ModelSpec
from p2p.base.limits import ENGINE_RETEST_S, ENGINE_WATCH_S
from p2p.base.types import StackClass
from p2p.inference.selftest import Wanted, self_test
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import check_tokenizer, read_tokenizer, tokenizer_file
from p2p.inference.vllm.engine import Look, VllmClient
from p2p.inference.vllm.server import closing, quiet, read_key, vllm_server
from p2p.peer.config import NodeConfig
from p2p.peer.roles import Roles
from p2p.verification.engine import Engine
from p2p.verification.text import Vocabulary, parse_vocabulary

MISSES = 3  # looks in a row that it listens and does not answer: one may fall into a long prefill


@dataclass(frozen=True, slots=True)
class ReadyEngine:
    """engine: for jobs; checks: for checks. They differ only where a test network's roles say so."""

    engine: Engine
    checks: Engine
    eos_ids: frozenset[int]
    stack: str


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


Lend = Callable[[ReadyEngine | None], None]  # None: it is taken back
Progress = Callable[[str], None]


async def run_ml_node(config: NodeConfig, roles: Roles, wanted: Callable[[], Wanted], lend: Lend, progress: Progress) -> None:
    """Until cancelled: find or start it, test it, lend it while it answers. Raises ConfigError, and Unavailable where an own engine does not come
    up: the caller tries again."""
    say = quiet(progress)
    try:
        if config.engine == "torch":
            async with _torch(config, roles, say) as found:
                lend(found)
                await trio.sleep_forever()
        if config.model_path is None and config.ml_node is None:
            raise ConfigError("give an ML node's URL or a model's path", field="ml_node")
        async with AsyncExitStack() as open_now:
            url, key = config.ml_node or "", read_key(config.ml_node_key) if config.ml_node_key else ""
            if config.model_path is not None:
                log = config.directory / "log" / "vllm.log"
                url, key = await open_now.enter_async_context(vllm_server(
                    config.model_path, served_name=config.model, log=log, flags=config.engine_flags, progress=say
                )), ""
            client = await open_now.enter_async_context(closing(VllmClient(url, config.model, key=key)))
            honest = client
            if roles.honest_ml_node:
                honest = await open_now.enter_async_context(closing(VllmClient(roles.honest_ml_node, config.model, key=key)))
            while True:
                found = await _tested(roles, client, honest, wanted, say)
                lend(found)
                await _until_silent(client)
                lend(None)
                say(f"the ML node at {url} does not answer any more")
    finally:
        lend(None)


async def _tested(roles: Roles, client: VllmClient, honest: VllmClient, wanted: Callable[[], Wanted], say: Progress) -> ReadyEngine:
    """Wait until it answers, and passes."""
    while True:
        while not await client.health():
            say(f"waiting for the ML node at {client.url}")
            await trio.sleep(1.0)
        try:
            eos = await client.eos_ids()
            await self_test(client, wanted(), eos)
            return await _found(roles, client, honest, eos, say)
        except ConfigError:
            raise
        except FolkmootError as error:
            say(f"{error.message}; tested again in {ENGINE_RETEST_S:.0f} s")
            await trio.sleep(ENGINE_RETEST_S)


async def _found(roles: Roles, client: VllmClient, honest: VllmClient, eos: frozenset[int], say: Progress) -> ReadyEngine:
    stack = await stack_name(honest, StackClass.CPU_BF16)
    if stack == StackClass.CPU_BF16:
        say("the ML node does not answer the probe of its kernels: its answers are tested as a stranger's until the next start")
    return ReadyEngine(roles.jobs(client, honest), roles.checks(client, honest), eos, stack)


async def _until_silent(client: VllmClient) -> None:
    missed = 0
    while missed < MISSES:
        await trio.sleep(ENGINE_WATCH_S)
        found = await client.look()
        if found is Look.GONE:
            return
        missed = 0 if found is Look.THERE else missed + 1


@asynccontextmanager
async def _torch(config: NodeConfig, roles: Roles, progress: Progress) -> AsyncIterator[ReadyEngine]:
    """Roles whose jobs run on other options of torch (an fp8 cache) get a second engine for them, so that checks stay honest."""
    from p2p.inference.torch.engine import torch_engine  # torch takes seconds to import

    assert config.model_path is not None  # the configuration says so
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(torch_engine(config.model_path, threads=config.engine_threads, progress=progress))
        honest: Engine = own
        if roles.honest_ml_node:
            honest = await stack.enter_async_context(closing(VllmClient(roles.honest_ml_node, config.model)))
        inner = own
        if roles.torch_options:
            inner = await stack.enter_async_context(
                torch_engine(config.model_path, threads=config.engine_threads, progress=progress, **roles.torch_options)
            )
        yield ReadyEngine(roles.jobs(inner, honest), roles.checks(inner, honest), own.model.eos_ids, own.stack)
