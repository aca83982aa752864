"""Altered weights for the attacks that run a cheaper model.

Law: real safetensors, built once, run by the real engine.

  int8            symmetric, one scale per output channel
  fp8             float8_e4m3, one scale per output channel
  int6, int5, int4  symmetric, in groups of GROUP
  weight_noise    normal noise, a hundredth of each matrix's root mean square
  low_rank        a random change of rank 8, a hundredth of each matrix's norm
  pruned          the smallest fifth of each row is zero
  smaller_model   a third of the layers dropped from the middle
  layer_skip      one layer dropped from the middle
  rope_theta      nine tenths of the rotary embedding's base; the weights are the right ones

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
SMALL, RANK, PRUNED, THETA = 0.01, 8, 0.2, 0.9
CHANGED = ("weight_noise", "low_rank", "pruned")
KINDS = ("smaller_model", "layer_skip", "rope_theta", "int8", "fp8", "int6", "int5", "int4", *CHANGED)
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
    if name in ("smaller_model", "layer_skip"):
        _drop_layers(model, one=name == "layer_skip")
    elif name == "rope_theta":
        _turn_rope(model.config)
    else:
        random = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "layers." not in key or weight.dim() < 2:
                    continue
                # the experts of a mixture are kept as one tensor (experts, out, in)
                for matrix in weight if weight.dim() == 3 else [weight]:
                    plain = matrix.float()
                    made = changed(name, plain, random) if name in CHANGED else rounded(name, plain)
                    matrix.copy_(made.to(matrix.dtype))
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
    top = {"int8": 127, "int6": 31, "int5": 15, "int4": 7}[name]
    groups = weight if name == "int8" else weight.reshape(-1, GROUP)
    scale = groups.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / top
    low = -top if name == "int8" else -top - 1
    return (torch.clamp((groups / scale).round(), low, top) * scale).reshape(weight.shape)


def changed(name: str, weight: Any, random: Any) -> Any:
    """`weight`, a float32 matrix (out, in), after the change `name` of CHANGED; same shape and type. random: a
    torch.Generator."""
    import torch

    if name == "pruned":
        least = weight.abs().quantile(PRUNED, dim=1, keepdim=True)
        return torch.where(weight.abs() < least, torch.zeros_like(weight), weight)
    if name == "weight_noise":
        noise = torch.randn(weight.shape, generator=random)
    else:
        left, right = (torch.randn(size, RANK, generator=random) for size in weight.shape)
        noise = left @ right.T
    return weight + noise * (SMALL * weight.norm() / noise.norm())


def _turn_rope(config: Any) -> None:
    """Newer versions of transformers keep the base in `rope_parameters`, older ones in `rope_theta`."""
    known = getattr(config, "rope_parameters", None)
    if isinstance(known, dict) and "rope_theta" in known:
        known["rope_theta"] *= THETA
    else:
        config.rope_theta *= THETA


def _drop_layers(model: Any, *, one: bool) -> None:
    import torch

    layers, config = model.model.layers, model.config
    total = len(layers)
    first, gone = (total // 2, 1) if one else (total * 3 // 10, total // 3)
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
