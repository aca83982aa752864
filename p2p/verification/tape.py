"""The sampling tape: public noise that fixes every sampled token. Law: noise = f(seed, position, token) and nothing else.

token = argmax(logprob / T + g), g = -ln(-ln u), u from Philox4x32-10 (Salmon et al., SC 2011; Random123's known answers).
Counter = (token // 4, position, 0, DOMAIN), key = the seed's first 8 bytes, word = token % 4, u = (word + 0.5) / 2^32.
Works mid-stream: whoever knows model, tokens so far, seed and position computes the same next token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2p.keys import digest
from p2p.types import Params

DOMAIN = 0x666F6C6B  # "folk"
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


def tape_seed(beacon: bytes, inference_id: bytes, client_nonce: int) -> bytes:
    """32 bytes the executor neither knew before the request was signed nor could choose."""
    return digest(b"folkmoot/tape/1", beacon, inference_id, client_nonce.to_bytes(8, "big"))


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 over arrays of 32-bit counters held in uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def _words(seed: bytes, position: int, blocks: Words) -> Words:
    key = (int.from_bytes(seed[0:4], "little"), int.from_bytes(seed[4:8], "little"))
    full = np.full_like(blocks, position)
    out = philox((blocks, full, np.zeros_like(blocks), np.full_like(blocks, DOMAIN)), key)
    return np.stack(out, axis=1)


def _gumbel(words: Words) -> Floats:
    u = (words.astype(np.float64) + 0.5) / 2.0**32
    noise: Floats = -np.log(-np.log(u))
    return noise


def gumbel_row(seed: bytes, position: int, vocab: int) -> Floats:
    """Noise of every token at one output position: shape (vocab,)."""
    blocks = np.arange((vocab + 3) // 4, dtype=np.uint64)
    return _gumbel(_words(seed, position, blocks).reshape(-1)[:vocab])


def gumbel_at(seed: bytes, position: int, tokens: Sequence[int]) -> Floats:
    """Noise of some tokens at one output position: shape (len(tokens),)."""
    ids = np.asarray(tokens, dtype=np.uint64)
    words = _words(seed, position, ids // np.uint64(4))
    return _gumbel(words[np.arange(len(ids)), (ids % np.uint64(4)).astype(np.int64)])


def scores(logprobs: Floats, params: Params, noise: Floats) -> Floats:
    """What the argmax is taken over: masked logprobs / T + noise; greedy (T = 0) takes logprobs as they are."""
    row = np.asarray(logprobs, dtype=np.float64)
    if params.temperature_milli == 0:
        return row
    keep = np.ones(row.shape, dtype=bool)
    if 0 < params.top_k < row.size:
        keep &= row >= np.partition(row, -params.top_k)[-params.top_k]
    if params.min_p_milli > 0:
        keep &= row >= row.max() + np.log(params.min_p_milli / 1000.0)
    result: Floats = np.where(keep, row / (params.temperature_milli / 1000.0) + noise, -np.inf)
    return result
