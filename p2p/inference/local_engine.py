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
from p2p.inference.stack.kernels import stack_name
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing
from p2p.text.model_files import read_model_text
from p2p.text.model_text import ModelText
from p2p.verification.engine import Engine


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine that is ready, and what is known of it."""

    engine: Engine
    stack: str  # as artifacts name it
    weights_hash: bytes | None = None  # of the folder that runs here; None for an ML node by URL
    text: ModelText | None = None  # None where no tokenizer.json was found
    ends: frozenset[int] = frozenset()  # token ids that end an answer, by the model's folder; empty where there is none


@asynccontextmanager
async def open_engine(
    kind: str, model: Path | None, url: str | None, name: str, progress: Callable[[str], None], *,
    flags: Sequence[str] = (), options: Mapping[str, Any] | None = None, stack: str = StackClass.CPU_BF16,
    tokenizer: Path | None = None, tool_format: str = "",
) -> AsyncIterator[LoadedEngine]:
    """Open an engine for the block that follows.

    kind: "torch" or "vllm", for the folder `model`; with url, that running ML node is used instead. name: the
    served name. progress: gets lines for people. flags: of vLLM. options: of torch_engine. stack: the family of an
    ML node or vLLM; torch knows its own. tokenizer: its file or folder, when it is not in `model`.
    tool_format: of the registry. Raises ConfigError, Unavailable."""
    from p2p.inference.stack.model import eos_ids, tokenizer_file, weights_hash

    file = tokenizer_file(tokenizer, model, name)
    if file is not None and not file.exists():
        field = "tokenizer" if tokenizer is not None else "model"
        raise ConfigError(f"{file} is not there; give the folder of a model in Hugging Face's form", field=field)
    folder = file if file is None or file.is_dir() else file.parent
    text = read_model_text(folder, tool_format=tool_format) if folder is not None else None
    ends = frozenset(eos_ids(folder)) if folder is not None else frozenset[int]()
    if url is not None:
        async with closing(VllmClient(url, name)) as client:
            if not await client.health():
                raise Unavailable(f"no ML node answers at {url}: start it, or name another", field="ml_node")
            yield LoadedEngine(client, await stack_name(client, stack), None, text, ends)
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
                    yield LoadedEngine(
                        client, await stack_name(client, stack), weights_hash(model), text, ends
                    )
        return
    from p2p.inference.torch.engine import torch_engine

    async with torch_engine(model, progress=progress, **(options or {})) as engine:
        yield LoadedEngine(engine, engine.stack, weights_hash(model), text, ends or engine.model.eos_ids)
