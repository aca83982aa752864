"""An answer that broke off goes on by another request (decision 056.7).

Law: only tokens that their executor signed are carried over, and the tape is that of the first request. So a right
answer goes on as if nothing had happened.

Where the last token may be the end of the answer, nobody can continue after it: then its whole frame is not carried
over, and comes again. It is compared, and not shown twice.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as struct_with

from p2p.base.token_ids import pack_ids
from p2p.client.question import Question
from p2p.client.repeat import NOTHING, Repeat
from p2p.client.shown import Shown
from p2p.client.stream import AnswerStream
from p2p.verification.tape import tape_seed


def seed_of(answer: AnswerStream) -> bytes:
    """The tape's seed of an answer's request, 32 bytes."""
    request = answer.signed.request
    return tape_seed(answer.drawn.beacon, answer.signed.inference_id, request.client_nonce, request.params.seed)


def continued(
    question: Question, shown: Shown, seed: bytes, ends: frozenset[int]
) -> tuple[Question, Repeat]:
    """(the question that continues the answer to `question`, what will come again).

    shown: what came of the answer so far. seed: of the first request's tape. ends: token ids that end an answer of this
    model; empty: not known, so any token may.
    """
    tokens, repeat = shown.tokens, NOTHING
    if tokens and (shown.found or len(tokens) >= question.max_tokens or not ends or tokens[-1] in ends):
        at, text = shown.last
        tokens, repeat = tokens[:at], Repeat(tuple(tokens[at:]), text)
    body = struct_with(question.body, begun=question.body.begun + pack_ids(tokens))
    counted = None if question.prompt_tokens is None else question.prompt_tokens + len(tokens)
    return replace(
        question, body=body, params=struct_with(question.params, seed=seed),
        max_tokens=question.max_tokens - len(tokens), prompt_tokens=counted,
    ), repeat
