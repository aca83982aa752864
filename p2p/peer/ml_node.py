"""Finds, starts, tests and watches the ML node behind one peer.

Law: it is lent only while it answers. A server, which may be anything, is lent only after it passed the test of
`inference/selftest.py`, and is tested again each time its port was closed. Whatever happens to the ML node, the peer
keeps running and says why it does not serve.

Three kinds: a vLLM that this process starts and supervises, a running one by URL, plain torch in this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import trio

from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.genesis import ModelSpec
from p2p.base.limits import ENGINE_RETEST_S, ENGINE_WATCH_S
from p2p.base.types import StackClass
from p2p.inference.selftest import Wanted, self_test
from p2p.inference.stack.kernels import stack_name
from p2p.inference.stack.model import check_text, eos_ids, tokenizer_file
from p2p.inference.vllm.engine import Look, VllmClient
from p2p.inference.vllm.server import closing, quiet, read_key, vllm_server
from p2p.peer.config import NodeConfig
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.roles import Roles
from p2p.text.model_files import read_model_text
from p2p.text.model_text import ModelText
from p2p.verification.engine import Engine

# unanswered looks in a row until a server that still listens is taken back: one may fall into a long prefill
MISSES = 3
HEALTH_LOOK_S = 1.0  # between two looks whether a server has come up

Lend = Callable[[ReadyEngine | None], None]  # None: it is taken back
Progress = Callable[[str], None]
Watch = Callable[[VllmClient], Awaitable[None]]  # returns when the server is to be taken back


async def load_text(config: NodeConfig, spec: ModelSpec | None) -> ModelText | None:
    """The model's tokenizer and chat template on this machine, or None. Raises ConfigError if they are not the
    registry's: every peer must make the same tokens of the same request, and the same text of the same tokens."""
    place = tokenizer_file(config.tokenizer, config.model_path, config.model)
    if place is None:
        return None
    folder = place if place.is_dir() else place.parent
    tool_format = spec.tool_format if spec is not None else ""
    found = await trio.to_thread.run_sync(partial(read_model_text, folder, tool_format=tool_format))
    if spec is not None:
        check_text(found, spec)
    return found


def known_ends(config: NodeConfig) -> tuple[int, ...]:
    """Token ids that end an answer, by the model's files on this machine, where the registry names none."""
    place = tokenizer_file(config.tokenizer, config.model_path, config.model)
    found = eos_ids(place if place.is_dir() else place.parent) if place is not None else ()
    if not found:
        raise ConfigError(
            "neither the registry nor the model's generation_config.json names the tokens that end an answer",
            field="eos_ids",
        )
    return found


async def run_ml_node(
    config: NodeConfig, roles: Roles, wanted: Callable[[], Wanted], lend: Lend, progress: Progress,
    text: ModelText | None = None, watch: Watch | None = None,
) -> None:
    """Until cancelled: find or start it, test it, lend it while it answers. wanted: what the registry says of the
    model. watch: looks at the server while it is lent; None: only whether it answers. Raises ConfigError, and
    Unavailable if an engine that was started here does not come up: the caller tries again."""
    say = quiet(progress)
    try:
        if config.engine == "torch":
            async with _torch(config, roles, say) as found:
                lend(replace(found, text=text))
                await trio.sleep_forever()
        async with AsyncExitStack() as open_now:
            client, honest = await _clients(config, roles, open_now, say)
            while True:
                found = await _tested(roles, client, honest, wanted, say)
                lend(replace(found, text=text))
                await (watch or _until_silent)(client)
                lend(None)
                say(f"the ML node at {client.url} does not answer any more")
    finally:
        lend(None)


async def _clients(
    config: NodeConfig, roles: Roles, open_now: AsyncExitStack, say: Progress
) -> tuple[VllmClient, VllmClient]:
    """(the ML node, the one that scores other peers' answers). A vLLM is started where the configuration names a
    model's path."""
    if config.model_path is not None:
        log = config.directory / "log" / "vllm.log"
        server = vllm_server(
            config.model_path, served_name=config.model, log=log, flags=config.engine_flags, progress=say
        )
        url, key = await open_now.enter_async_context(server), ""
    elif config.ml_node is not None:
        url, key = config.ml_node, read_key(config.ml_node_key) if config.ml_node_key else ""
    else:
        raise ConfigError("give an ML node's URL or a model's path", field="ml_node")
    client = await open_now.enter_async_context(closing(VllmClient(url, config.model, key=key)))
    if not roles.honest_ml_node:
        return client, client
    return client, await open_now.enter_async_context(closing(VllmClient(roles.honest_ml_node, config.model, key=key)))


async def _tested(
    roles: Roles, client: VllmClient, honest: VllmClient, wanted: Callable[[], Wanted], say: Progress
) -> ReadyEngine:
    """Wait until the server answers and passes the test."""
    while True:
        while not await client.health():
            say(f"waiting for the ML node at {client.url}")
            await trio.sleep(HEALTH_LOOK_S)
        try:
            now = wanted()
            await self_test(client, now)
            return await _found(roles, client, honest, now.ends, say)
        except ConfigError:
            raise
        except FolkmootError as error:
            say(f"{error.message}; tested again in {ENGINE_RETEST_S:.0f} s")
            await trio.sleep(ENGINE_RETEST_S)


async def _found(
    roles: Roles, client: VllmClient, honest: VllmClient, eos: frozenset[int], say: Progress
) -> ReadyEngine:
    stack = await stack_name(honest, StackClass.CPU_BF16)
    if stack == StackClass.CPU_BF16:
        say("the ML node does not answer the probe of its kernels; until the next start nobody shares kernels with it")
    return ReadyEngine(roles.jobs(client, honest), roles.checks(client, honest), eos, stack)


async def _until_silent(client: VllmClient) -> None:
    """Return when nobody listens any more, or MISSES looks in a row had no answer."""
    missed = 0
    while missed < MISSES:
        await trio.sleep(ENGINE_WATCH_S)
        found = await client.look()
        if found is Look.GONE:
            return
        missed = 0 if found is Look.THERE else missed + 1


@asynccontextmanager
async def _torch(config: NodeConfig, roles: Roles, progress: Progress) -> AsyncIterator[ReadyEngine]:
    """The model in this process. Roles whose jobs run on other options of torch (an fp8 cache) get a second engine for
    jobs, so that their checks stay honest."""
    from p2p.inference.torch.engine import torch_engine  # torch takes seconds to import

    assert config.model_path is not None  # the configuration's rules say so
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(
            torch_engine(config.model_path, threads=config.engine_threads, progress=progress)
        )
        honest: Engine = own
        if roles.honest_ml_node:
            honest = await stack.enter_async_context(closing(VllmClient(roles.honest_ml_node, config.model)))
        inner = own
        if roles.torch_options:
            inner = await stack.enter_async_context(
                torch_engine(config.model_path, threads=config.engine_threads, progress=progress, **roles.torch_options)
            )
        yield ReadyEngine(roles.jobs(inner, honest), roles.checks(inner, honest), own.model.eos_ids, own.stack)
