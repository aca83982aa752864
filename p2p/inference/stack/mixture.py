"""Makes a tiny mixture-of-experts model with random weights: two layers of eight experts, two for each token.

Law: the same weights from the same script; tokenizer and chat template are the small model's.

It knows nothing, and its words mean nothing. But its experts, its router and their rounding are those of a large
mixture, so the engines and the checks can be tried on that shape. `python -m p2p.inference.stack.mixture` prints its
folder.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from p2p.inference.stack.model import build_cached, cache_root, prepare_model, vocabulary_size

NAME: Final = "tiny-mixture"
HIDDEN, LAYERS, EXPERTS, CHOSEN, CONTEXT = 256, 2, 8, 2, 2048
SEED: Final = 20261129
# Standard deviations. With transformers' own (0.02) all tokens were almost equally likely; these give a next token
# about as many likely candidates as language has.
INSIDE, OUTPUT = 0.06, 0.25
COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def prepare_mixture(progress: Callable[[str], None] = lambda text: None, cache: Path | None = None) -> Path:
    """The model's folder, built when it is missing. cache: where, instead of cache_root()."""
    small = prepare_model(progress)
    return build_cached((cache or cache_root()) / NAME, lambda folder: _build(small, folder))


def _build(small: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, MixtralConfig

    config = MixtralConfig(
        vocab_size=vocabulary_size(small), hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=EXPERTS, num_experts_per_tok=CHOSEN,
        max_position_embeddings=CONTEXT, sliding_window=None, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    numbers = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.dim() > 1:
                weight.normal_(0.0, OUTPUT if name.startswith("lm_head") else INSIDE, generator=numbers)
    model.to(torch.bfloat16).save_pretrained(str(folder), safe_serialization=True)
    for name in COPIED:
        shutil.copyfile(small / name, folder / name)


if __name__ == "__main__":
    print(prepare_mixture(lambda text: print(text, file=sys.stderr)))
