"""Altered weights for the attacks that run a cheaper model.

Law: real safetensors, built once, run by the real engine.

  int8            symmetric, one scale per output channel
  fp8             float8_e4m3, one scale per output channel
  int6, int4      symmetric, in groups of GROUP
  smaller_model   a third of the layers dropped from the middle

Rounded values are stored in the model's own type (bfloat16), so an engine computes with the rounded weights;
activations stay as they are. That is the weight-only quantisation that hosts use to save memory.
`python -m p2p.lab.attacks.weights int4 [MODEL]` builds one and prints its folder.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.inference.stack.model import build_cached, cache_root, prepare_model

GROUP = 64
FP8_MAX = 448.0  # largest finite float8_e4m3
KINDS = ("smaller_model", "int8", "fp8", "int6", "int4")
Progress = Callable[[str], None]


def prepare(name: str, progress: Progress = lambda text: None, source: Path | None = None) -> Path:
    """Folder of the altered weights `name` of `source`, built when it is missing.

    source: a model's folder; None for the small shipped model. progress takes lines. Raises ConfigError for an unknown
    name.
    """
    if name not in KINDS:
        raise ConfigError(f"no such altered weights; there are {', '.join(KINDS)}", field="weights")
    model = source or prepare_model(progress)
    target = cache_root() / f"{model.name}-{name}"
    if not (target / "config.json").exists():
        progress(f"model: building the weights of {name} (some seconds, once)")
    return build_cached(target, lambda folder: _build(name, model, folder))


def _build(name: str, source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(source), dtype=torch.bfloat16)
    if name == "smaller_model":
        _drop_layers(model)
    else:
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "layers." not in key or weight.dim() < 2:
                    continue
                # the experts of a mixture are kept as one tensor (experts, out, in)
                for matrix in weight if weight.dim() == 3 else [weight]:
                    matrix.copy_(rounded(name, matrix.float()).to(matrix.dtype))
    model.save_pretrained(str(folder), safe_serialization=True)
    for file in source.iterdir():
        if file.is_file() and not (folder / file.name).exists() and not file.name.endswith(
            (".safetensors", ".index.json")
        ):
            shutil.copy(file, folder / file.name)


def rounded(name: str, weight: Any) -> Any:
    """`weight`, a float32 matrix (out, in), after the rounding `name`; same shape and type."""
    import torch

    if name == "fp8":
        scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / FP8_MAX
        return (weight / scale).to(torch.float8_e4m3fn).float() * scale
    top = {"int8": 127, "int6": 31, "int4": 7}[name]
    groups = weight if name == "int8" else weight.reshape(-1, GROUP)
    scale = groups.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / top
    low = -top if name == "int8" else -top - 1
    return (torch.clamp((groups / scale).round(), low, top) * scale).reshape(weight.shape)


def _drop_layers(model: Any) -> None:
    import torch

    layers, config = model.model.layers, model.config
    total = len(layers)
    first, gone = total * 3 // 10, total // 3
    kept = [i for i in range(total) if not first <= i < first + gone]
    model.model.layers = torch.nn.ModuleList([layers[i] for i in kept])
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in kept]


if __name__ == "__main__":
    print(
        prepare(
            sys.argv[1], lambda text: print(text, file=sys.stderr), Path(sys.argv[2]) if len(sys.argv) > 2 else None
        )
    )
