"""Log-probabilities in OpenAI's two forms.

Law: numbers are the model's own, as the artifact holds them. Special tokens are no part of a text and are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from p2p.gateway.core.pieces import Row

BytesOf = Callable[[int], bytes]


def chat_logprobs(rows: Iterable[Row], most: int, bytes_of: BytesOf) -> list[dict[str, Any]]:
    """One entry a token, with its `most` likeliest alternatives."""
    return [
        _entry(bytes_of(row.token), row.logprob)
        | {"top_logprobs": [_entry(bytes_of(token), value) for token, value in row.top[:most]]}
        for row in rows if bytes_of(row.token)
    ]


def _entry(raw: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _shown(raw), "logprob": logprob, "bytes": list(raw)}


def text_logprobs(rows: Sequence[Row], most: int, bytes_of: BytesOf, offset: int) -> dict[str, Any]:
    """The older form: parallel lists. offset: of the first token in the choice's text, in characters."""
    shown = [row for row in rows if bytes_of(row.token)]
    offsets = []
    for row in shown:
        offsets.append(offset)
        offset += len(_shown(bytes_of(row.token)))
    return {
        "tokens": [_shown(bytes_of(row.token)) for row in shown],
        "token_logprobs": [row.logprob for row in shown],
        "top_logprobs": [{_shown(bytes_of(token)): value for token, value in row.top[:most]} for row in shown],
        "text_offset": offsets,
    }


def text_length(rows: Iterable[Row], bytes_of: BytesOf) -> int:
    """Characters of these tokens, as text_logprobs counts them."""
    return sum(len(_shown(bytes_of(row.token))) for row in rows)


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
