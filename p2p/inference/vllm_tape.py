"""The sampling tape inside vLLM: a public logits-processor plugin. Law: row i of the batch gets the noise of request i, always.

Requests carry vllm_xargs {folkmoot_seed, folkmoot_temperature_milli, folkmoot_top_k, folkmoot_min_p_milli, folkmoot_position}
and temperature 0, so that vLLM takes the argmax of what this class writes. Load with
`--logits-processors p2p.inference.vllm_tape:TapeProcessor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from p2p.types import Params
from p2p.verification import tape


@dataclass(slots=True)
class _Row:
    """One request in the batch. output: vLLM's own growing list, so its length is the position."""

    seed: bytes
    params: Params
    offset: int
    output: list[int]


class TapeProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM publishes no types
    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        del device, is_pin_memory
        if getattr(vllm_config, "speculative_config", None) is not None:
            raise ValueError("speculative decoding breaks the sampling tape: start the engine without it")
        self._rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Refuse a malformed tape with HTTP 400 before it enters the batch."""
        extra = params.extra_args or {}
        if "folkmoot_seed" in extra:
            _row(extra, [])
            if params.temperature:
                raise ValueError("a request with a tape has temperature 0; its own is folkmoot_temperature_milli")

    def update_state(self, update: BatchUpdate | None) -> None:
        if update is None:
            return
        for index in update.removed:
            self._rows.pop(index, None)
        for index, params, _prompt, output in update.added:
            extra = params.extra_args or {}
            if "folkmoot_seed" in extra:
                self._rows[index] = _row(extra, output)
            else:
                self._rows.pop(index, None)
        for one, two, direction in update.moved:
            first, second = self._rows.pop(one, None), self._rows.pop(two, None)
            if first is not None:
                self._rows[two] = first
            if direction is MoveDirectionality.SWAP and second is not None:
                self._rows[one] = second

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for index, row in self._rows.items():
            if row.params.temperature_milli == 0:
                continue
            values = logits[index].detach().to("cpu", torch.float32).numpy()
            noise = tape.gumbel_row(row.seed, row.offset + len(row.output), values.shape[0])
            # log-softmax shifts all scores alike, so raw logits give the same argmax and the same masks
            scored = tape.scores(values, row.params, noise).astype(np.float32)
            logits[index] = torch.from_numpy(scored).to(logits.device, logits.dtype)
        return logits


def _row(extra: dict[str, Any], output: list[int]) -> _Row:
    seed = bytes.fromhex(str(extra["folkmoot_seed"]))
    if len(seed) != 32:
        raise ValueError("folkmoot_seed: 64 hexadecimal digits are wanted")
    numbers = [int(extra.get(f"folkmoot_{name}", 0)) for name in ("temperature_milli", "top_k", "min_p_milli", "position")]
    if min(numbers) < 0:
        raise ValueError("folkmoot_*: numbers from 0 are wanted")
    return _Row(seed, Params(*numbers[:3]), numbers[3], output)
