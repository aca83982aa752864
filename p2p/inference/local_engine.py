"""An engine for one command: torch in this process, a vLLM started for it, or an ML node by URL. Law: gone when the
command ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError, Unavailable
from p2p.base.types import StackClass
from p2p.inference.stack.end_tokens import end_tokens
from p2p.inference.stack.kernels import stack_name
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing
from p2p.text.vocabulary import Vocabulary, parse_vocabulary
from p2p.verification.engine import Engine


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine that is ready, and what is known of it."""

    engine: Engine
    stack: str  # as artifacts name it
    weights_hash: bytes | None = None  # of the folder that runs here; None for an ML node by URL
    vocabulary: Vocabulary | None = None  # None where no tokenizer.json was found

    async def eos_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        return await end_tokens(self.engine)


@asynccontextmanager
async def open_engine(
    kind: str, model: Path | None, url: str | None, name: str, progress: Callable[[str], None], *,
    flags: Sequence[str] = (), options: Mapping[str, Any] | None = None, stack: str = StackClass.CPU_BF16,
    tokenizer: Path | None = None,
) -> AsyncIterator[LoadedEngine]:
    """Open an engine for the block that follows.

    kind: "torch" or "vllm", for the folder `model`; with url, that running ML node is used instead. name: the
    served name. progress: gets lines for people. flags: of vLLM. options: of torch_engine. stack: the family of an
    ML node or vLLM; torch knows its own. tokenizer: its file or folder, when it is not in `model`. Raises
    ConfigError, Unavailable."""
    from p2p.inference.stack.model import read_tokenizer, tokenizer_file, weights_hash

    file = tokenizer_file(tokenizer, model, name)
    vocabulary = parse_vocabulary(read_tokenizer(file)) if file is not None else None
    if url is not None:
        async with closing(VllmClient(url, name)) as client:
            if not await client.health():
                raise Unavailable(f"no ML node answers at {url}: start it, or name another", field="ml_node")
            yield LoadedEngine(client, await stack_name(client, stack), None, vocabulary)
        return
    if model is None or not (model / "config.json").exists():
        raise ConfigError(f"{model} is no model folder: config.json is missing there", field="model")
    if kind == "vllm":
        import tempfile

        from p2p.inference.vllm.server import vllm_server

        with tempfile.TemporaryDirectory() as scratch:
            async with vllm_server(
                model, served_name=name, log=Path(scratch) / "vllm.log", flags=flags, progress=progress
            ) as own:
                async with closing(VllmClient(own, name)) as client:
                    yield LoadedEngine(client, await stack_name(client, stack), weights_hash(model), vocabulary)
        return
    from p2p.inference.torch.engine import torch_engine

    async with torch_engine(model, progress=progress, **(options or {})) as engine:
        yield LoadedEngine(engine, engine.stack, weights_hash(model), vocabulary)
