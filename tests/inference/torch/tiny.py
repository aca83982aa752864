"""Models with random weights, for tests of how the torch engine decodes: one in memory, and folders of any kind."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from p2p.inference.stack.model import prepare_model
from p2p.inference.torch.model import TorchModel
from p2p.text.vocabulary import parse_vocabulary
from testnet.simulated_engine import VOCAB, tokenizer_json


@cache
def tiny() -> TorchModel:
    """Two layers in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from p2p.inference.torch.cache import ATTENTION

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, attn_implementation=ATTENTION, initializer_range=0.4,
    )
    module = LlamaForCausalLM(config).eval()
    model = TorchModel.__new__(TorchModel)
    model.device, model.dtype, model.kv_cache = torch.device("cpu"), "float32", "model"
    model.layers, model.vocab, model.context, model.eos_ids = 2, VOCAB, 512, frozenset({1})
    model.vocabulary = parse_vocabulary(tokenizer_json().encode())
    model._module, model._base, model._head = module, module.get_decoder(), module.get_output_embeddings()
    return model


def built(folder: Path, config: Any) -> Path:
    """A model of this configuration with random weights, spread so that its choices are neither sure nor all alike."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.2)
    model.save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(prepare_model() / name, folder / name)
    return folder
