"""A key-value cache of many sequences, each with its own length. Law: a row sees its own tokens and nothing else.

Row i of a layer's buffer holds sequence i from position 0 on, without left padding, so a sequence joins or leaves
without moving the others. What is beyond a row's length is finite and masked. `fp8` rounds keys and values to
float8_e4m3 and back as they enter the cache, as an engine that keeps them in eight bits does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import p2p.inference.torch.quiet  # noqa: F401  # isort: skip  # before torch
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer

ATTENTION = "folkmoot_slots"
UNKNOWN = ("softcap", "s_aux")  # what some models ask of their attention and `slot_attention` does not do
GROW = 128  # positions by which a buffer grows
FP8_MAX = 448.0  # the largest value of e4m3; above it the cast gives NaN


@dataclass(slots=True)
class Prefill:
    """The pass is a prefill of n new sequences, from position 0 on."""

    start: int  # the first of their rows


@dataclass(slots=True)
class Decode:
    """The pass is one more token for each of the first n rows, or several for some of them."""

    lengths: torch.Tensor  # (n,) int64: tokens in each row before this one
    rows: torch.Tensor  # (n,) int64: 0 .. n - 1; with `shared` a row stands there once for each of its tokens
    width: int  # tokens in the longest row after this one
    shared: bool = False


class _SlotLayer(DynamicLayer):  # type: ignore[misc]  # transformers publishes no types
    def __init__(self, owner: SlotCache) -> None:
        super().__init__()
        self.owner = owner

    def update(
        self, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep keys and values, each (n, heads, new positions, head size); returns what the queries attend to."""
        del args, kwargs
        if self.owner.fp8:
            key, value = fp8_round_trip(key), fp8_round_trip(value)
        place, count = self.owner.place, key.shape[2]
        if isinstance(place, Prefill):
            self._room(key, count)
            rows = slice(place.start, place.start + key.shape[0])
            self.keys[rows, :, :count] = key
            self.values[rows, :, :count] = value
            return key, value
        assert place is not None
        assert count == 1
        self._room(key, place.width)
        self.keys[place.rows, :, place.lengths] = key[:, :, 0]
        self.values[place.rows, :, place.lengths] = value[:, :, 0]
        if place.shared:
            return self.keys[place.rows, :, : place.width], self.values[place.rows, :, : place.width]
        return self.keys[: key.shape[0], :, : place.width], self.values[: key.shape[0], :, : place.width]

    def _room(self, like: torch.Tensor, width: int) -> None:
        """Grow the buffers to `width` positions, with zeros: a NaN under the mask would still spoil the sum."""
        have = 0 if self.keys is None else self.keys.shape[2]
        if width <= have:
            return
        size = -(-width // GROW) * GROW
        for name in ("keys", "values"):
            fresh = torch.zeros(
                (self.owner.slots, like.shape[1], size, like.shape[3]), dtype=like.dtype, device=like.device
            )
            if have:
                fresh[:, :, :have] = getattr(self, name)
            setattr(self, name, fresh)

    def move(self, source: int, target: int, length: int) -> None:
        self.keys[target, :, :length] = self.keys[source, :, :length]
        self.values[target, :, :length] = self.values[source, :, :length]


class SlotCache(Cache):  # type: ignore[misc]
    """The cache of a model with `layers` layers, for at most `slots` rows. Set `place` before each forward pass."""

    def __init__(self, layers: int, slots: int, *, fp8: bool = False) -> None:
        self.slots, self.fp8 = slots, fp8
        self.place: Prefill | Decode | None = None
        super().__init__(layers=[_SlotLayer(self) for _ in range(layers)])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of row `source` over row `target`."""
        for layer in self.layers:
            layer.move(source, target, length)


def fp8_round_trip(value: torch.Tensor) -> torch.Tensor:
    """Values as float8_e4m3 (scale 1, saturating), back in the type that they had."""
    return value.clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).to(value.dtype)


def slot_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for both kinds of pass, as transformers calls it.

    Without a mask: causal prefill, padded on the right. With one of shape (n, 1, 1, width): one query per row.
    Query heads that share a key head become query positions then, so keys and values are read once and never
    copied. A layer with a sliding window sees the last so many tokens, its own included."""
    del module, dropout
    if unknown := [name for name in UNKNOWN if kwargs.get(name) is not None]:
        raise NotImplementedError(f"attention with {', '.join(unknown)} is not supported by the torch engine")
    window = kwargs.get("sliding_window")
    rows, heads, count, size = query.shape
    if attention_mask is None:
        band = _band(count, window, query.device) if window and count > window else None
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=band, is_causal=band is None and count > 1, scale=scaling,
            enable_gqa=heads != key.shape[1],
        )
    else:
        if window and key.shape[2] > window:
            attention_mask = _windowed(attention_mask, window)
        folded = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
        mask = attention_mask.expand(rows, 1, folded.shape[2], key.shape[2])
        out = scaled_dot_product_attention(
            folded, key, value, attn_mask=mask, scale=scaling
        ).reshape(rows, heads, 1, size)
    return out.transpose(1, 2).contiguous(), None


def _band(count: int, window: int, device: torch.device) -> torch.Tensor:
    """Which tokens a prefill's token sees, bool (count, count): itself and the window - 1 before it."""
    at = torch.arange(count, device=device)
    back = at.unsqueeze(1) - at
    return (back >= 0) & (back < window)


def _windowed(mask: torch.Tensor, window: int) -> torch.Tensor:
    """A mask of one query per row, (n, 1, 1, width), that also hides what is further back than the window."""
    seen = (mask == 0).sum(-1, keepdim=True)  # tokens of each row, which are its first ones
    at = torch.arange(mask.shape[-1], device=mask.device)
    return mask.masked_fill(at < seen - window, float("-inf"))


AttentionInterface.register(ATTENTION, slot_attention)
