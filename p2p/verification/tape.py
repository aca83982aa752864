"""The sampling tape: public noise that fixes every sampled token. Law: noise = f(seed, position, token) and nothing
else.

token = argmax(masked log-probability / T + g), g = -ln(-ln u), u from Philox4x32-10 (Salmon et al., SC 2011;
Random123's known answers hold). Counter = (token // 4, position, 0, DOMAIN), key = the seed's first 8 bytes, word =
token % 4, u = (word + 0.5) / 2^32. It works in mid-answer: whoever knows model, tokens so far, seed and position
computes the same next token. TAPE.md is the whole specification, tests/golden/tape.json holds its vectors,
tape_torch.py is the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2p.base.keys import digest
from p2p.base.types import Params

DOMAIN = 0x666F6C6B  # "folk"
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
PIECE = 1 << 14  # blocks of four words at once: what the generator works on stays in the processor's cache
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


def tape_seed(beacon: bytes, inference_id: bytes, client_nonce: int, wanted: bytes | None = None) -> bytes:
    """The tape's seed, 32 bytes, which the executor neither knew before the request was signed nor could choose.

    wanted: the seed that the request names (Params.seed), so that the same question has the same answer again, or so
    that another request continues an answer.
    """
    if wanted is not None:
        return wanted
    return digest(b"folkmoot/tape/1", beacon, inference_id, client_nonce.to_bytes(8, "big"))


def seed_of(number: int) -> bytes:
    """The seed for a number that a user gives, such as the `seed` of an API: 32 bytes."""
    return digest(b"folkmoot/tape/number", number.to_bytes(16, "big", signed=True))


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 over arrays of 32-bit words held in uint64; counters broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def key_of(seed: bytes) -> tuple[int, int]:
    """The generator's key: the seed's first 8 bytes as two little-endian words."""
    return int.from_bytes(seed[0:4], "little"), int.from_bytes(seed[4:8], "little")


def _words(seed: bytes, position: int | NDArray[np.uint64], blocks: Words) -> Words:
    key, full = key_of(seed), np.broadcast_to(np.asarray(position, dtype=np.uint64), blocks.shape)
    found = np.empty((len(blocks), 4), dtype=np.uint64)
    for start in range(0, len(blocks), PIECE):
        part = blocks[start : start + PIECE]
        counter = part, full[start : start + PIECE], np.zeros_like(part), np.full_like(part, DOMAIN)
        for word, values in enumerate(philox(counter, key)):
            found[start : start + PIECE, word] = values
    return found


def _gumbel(words: Words) -> Floats:
    u = (words.astype(np.float64) + 0.5) / 2.0**32
    noise: Floats = -np.log(-np.log(u))
    return noise


def words_row(seed: bytes, position: int, vocab: int) -> Words:
    """The 32-bit words behind the noise of every token at one output position: shape (vocab,)."""
    return _words(seed, position, np.arange((vocab + 3) // 4, dtype=np.uint64)).reshape(-1)[:vocab]


def gumbel_row(seed: bytes, position: int, vocab: int) -> Floats:
    """Noise of every token at one output position: shape (vocab,)."""
    return _gumbel(words_row(seed, position, vocab))


def gumbel_at(seed: bytes, position: int, tokens: Sequence[int]) -> Floats:
    """Noise of some tokens at one output position: shape (len(tokens),)."""
    return _gumbel(words_at(seed, position, tokens))


def noise_of_rows(seed: bytes, first: int, rows: Sequence[Sequence[int]], params: Params) -> list[Floats]:
    """Noise of the tokens rows[i] at output position first + i, one array for each row; zeros where T = 0. One call for
    a whole answer costs far less than one for each position."""
    lengths = [len(row) for row in rows]
    if params.temperature_milli == 0 or not rows:
        return [np.zeros(length) for length in lengths]
    positions = np.repeat(np.arange(first, first + len(rows), dtype=np.uint64), lengths)
    flat = _gumbel(words_at(seed, positions, [token for row in rows for token in row]))
    return np.split(flat, np.cumsum(lengths)[:-1])


def words_at(seed: bytes, position: int | NDArray[np.uint64], tokens: Sequence[int]) -> Words:
    """The 32-bit words behind the noise of some tokens: shape (len(tokens),). The same bits on every machine."""
    ids = np.asarray(tokens, dtype=np.uint64)
    words = _words(seed, position, ids // np.uint64(4))
    found: Words = words[np.arange(len(ids)), (ids % np.uint64(4)).astype(np.int64)]
    return found


def output_counts(tokens_before: Sequence[int], ids: Sequence[int] | NDArray[np.int64]) -> Floats:
    """How often each of `ids` occurs in `tokens_before` (the output so far): shape (len(ids),)."""
    wanted = np.asarray(ids, dtype=np.int64)
    if not len(tokens_before):
        return np.zeros(wanted.shape)
    # never as wide as the largest id
    seen, times = np.unique(np.asarray(tokens_before, dtype=np.int64), return_counts=True)
    at = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
    result: Floats = np.where(seen[at] == wanted, times[at], 0).astype(np.float64)
    return result


def log_softmax(logits: Floats) -> Floats:
    """Logits of a whole vocabulary as log-probabilities, float64, same shape."""
    row = np.asarray(logits, dtype=np.float64)
    shifted = row - row.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def penalised(
    logprobs: Floats, params: Params, counts: Floats | None = None, bias: Floats | None = None
) -> Floats:
    """logprob x (repetition if count > 0) - presence x [count > 0] - frequency x count + bias, float64, same shape.

    counts: as of `output_counts`; None: no output yet. With a repetition factor `logprobs` must be log-probabilities,
    not raw logits, because a factor does not forgive a shift.
    """
    row = np.asarray(logprobs, dtype=np.float64)
    if counts is not None:
        if params.repetition_milli != 1000:
            row = np.where(counts > 0, row * (params.repetition_milli / 1000.0), row)
        if params.presence_milli or params.frequency_milli:
            row = row - params.presence_milli / 1000.0 * (counts > 0) - params.frequency_milli / 1000.0 * counts
    result: Floats = row if bias is None else row + bias
    return result


def scores(logprobs: Floats, params: Params, noise: Floats, counts: Floats | None = None) -> Floats:
    """The values of which the argmax is the chosen token: penalties, / T, top-k, top-p, min-p, + noise; -inf outside
    the masks.

    All arguments have the shape of `logprobs`: the whole vocabulary, or a validator's candidates of one position. A
    constant added to all logprobs changes no choice, so raw logits serve as well (but see `penalised`).
    """
    return finish(penalised(logprobs, params, counts), params, noise)


def finish(row: Floats, params: Params, noise: Floats) -> Floats:
    """From penalised values to scores: / T, masks, + noise. A value of -inf is never chosen where another is finite.

    Greedy (T = 0) takes the values as they are: every mask keeps the best token, and there is no noise.
    """
    if params.temperature_milli == 0:
        return row
    row = row / (params.temperature_milli / 1000.0)
    result: Floats = np.where(row >= lowest_kept(row, params), row + noise, -np.inf)
    return result


def lowest_kept(row: Floats, params: Params) -> float:
    """The smallest value of `row` (penalised, divided by T) inside all masks. A mask keeps a value together with its
    equals, so the order of candidates does not matter. top-p counts the mass within top-k, renormalised."""
    floor = float("-inf")
    if 0 < params.top_k < row.size:
        floor = float(np.partition(row, -params.top_k)[-params.top_k])
    if params.top_p_milli < 1000:
        best_first = -np.sort(-row[row >= floor])
        mass = np.exp(best_first - best_first[0])
        before = np.cumsum(mass[:-1]) / mass.sum()  # of the second, third, ... token; the best one is always kept
        floor = float(best_first[np.count_nonzero(before < params.top_p_milli / 1000.0)])
    if params.min_p_milli > 0:
        floor = max(floor, float(row.max() + np.log(params.min_p_milli / 1000.0)))
    return floor
