"""The sampling tape on a torch device, many rows at once. Law: the same 32-bit words as tape.py, bit for bit; the same
choices.

The words are integer arithmetic and identical everywhere. The logarithms are float64 on the device and may differ from
NumPy's in the last place (TAPE.md, section 8). Needs a device with int64 and float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from p2p.base.types import Params
from p2p.verification.tape import DOMAIN, key_of

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _LOW16 = 0xFFFFFFFF, 0xFFFF
Counter = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _multiply(constant: int, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low 32 bits of a 32 x 32 bit product, from 16-bit halves. torch has no unsigned 64-bit product, and the
    result of a signed one that overflows is not specified."""
    low = value * (constant & _LOW16)  # below 2^48
    high = value * (constant >> 16) + (low >> 16)  # below 2^49
    return high >> 16, ((high & _LOW16) << 16) | (low & _LOW16)


def philox(counter: Counter, key: tuple[torch.Tensor, torch.Tensor]) -> Counter:
    """Philox4x32-10 over int64 tensors that hold 32-bit words; counters and keys broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(_M0, c0)
        high1, low1 = _multiply(_M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def words_rows(seeds: Sequence[bytes], positions: Sequence[int], vocab: int, device: torch.device) -> torch.Tensor:
    """32-bit words of every token, one row per (seed, position): int64, shape (rows, vocab)."""
    keys = torch.tensor([key_of(seed) for seed in seeds], dtype=torch.int64, device=device)
    at = torch.tensor(list(positions), dtype=torch.int64, device=device).unsqueeze(1)
    blocks = torch.arange((vocab + 3) // 4, dtype=torch.int64, device=device).unsqueeze(0)
    zero = torch.zeros_like(blocks)
    out = philox((blocks, at, zero, zero + DOMAIN), (keys[:, 0:1], keys[:, 1:2]))
    return torch.stack(torch.broadcast_tensors(*out), dim=2).reshape(len(seeds), -1)[:, :vocab]


def gumbel_rows(seeds: Sequence[bytes], positions: Sequence[int], vocab: int, device: torch.device) -> torch.Tensor:
    """Noise of every token, one row per (seed, position): float64, shape (rows, vocab)."""
    u = (words_rows(seeds, positions, vocab, device).to(torch.float64) + 0.5) / 2.0**32
    return -torch.log(-torch.log(u))


def penalised(
    row: torch.Tensor, params: Params, before: Sequence[int], bias: Mapping[int, float] | None = None
) -> torch.Tensor:
    """As tape.penalised on the whole vocabulary, shape (vocab,), float64. before: output tokens so far, instead of
    their counts. bias: nats by token id."""
    if params.repetition_milli != 1000:  # a factor needs log-probabilities
        row = torch.log_softmax(row, dim=0)
    result = row
    if before and (params.presence_milli or params.frequency_milli or params.repetition_milli != 1000):
        seen, times = torch.unique(torch.tensor(list(before), dtype=torch.int64), return_counts=True)
        seen, counts = seen.to(row.device), times.to(row.device, torch.float64)
        result = row.clone()
        result[seen] = (
            row[seen] * (params.repetition_milli / 1000.0)
            - params.presence_milli / 1000.0 - params.frequency_milli / 1000.0 * counts
        )
    if bias:
        ids = torch.tensor(list(bias), dtype=torch.int64, device=row.device)
        result = result.index_add(0, ids, torch.tensor(list(bias.values()), dtype=torch.float64, device=row.device))
    return result


def scores(
    row: torch.Tensor, params: Params, noise: torch.Tensor | None, before: Sequence[int] = (), *,
    bias: Mapping[int, float] | None = None, allowed: torch.Tensor | None = None,
) -> torch.Tensor:
    """As SamplingState.scores on the whole vocabulary, shape (vocab,), float64. row: raw logits or logprobs. noise:
    None for greedy. before, bias: as of `penalised`. allowed: bool, shape (vocab,); None: every token."""
    row = penalised(row.to(torch.float64), params, before, bias)
    if allowed is not None:
        row = torch.where(allowed, row, float("-inf"))
    if params.temperature_milli == 0:
        return row
    assert noise is not None
    row = row / (params.temperature_milli / 1000.0)
    floor = lowest_kept(row, params)
    scored = row + noise
    return scored if floor is None else torch.where(row >= floor, scored, float("-inf"))


def lowest_kept(row: torch.Tensor, params: Params) -> torch.Tensor | None:
    """As tape.lowest_kept; None if nothing is masked. A tensor without dimensions, so that the host need not wait for
    the device."""
    floor: torch.Tensor | None = None
    if 0 < params.top_k < row.numel():
        floor = torch.topk(row, params.top_k).values[-1]
    if params.top_p_milli < 1000:
        inside = row if floor is None else torch.where(row >= floor, row, float("-inf"))
        best_first = torch.sort(inside, descending=True).values
        mass = torch.exp(best_first - best_first[0])
        before = torch.cumsum(mass[:-1], dim=0) / mass.sum()
        last = ((before < params.top_p_milli / 1000.0) & (best_first[1:] > float("-inf"))).sum()
        floor = best_first[last]
    if params.min_p_milli > 0:
        reach = row.max() + torch.log(torch.tensor(params.min_p_milli / 1000.0, dtype=torch.float64, device=row.device))
        floor = reach if floor is None else torch.maximum(floor, reach)
    return floor
