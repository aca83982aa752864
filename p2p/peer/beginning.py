"""Checks of tokens that an answer continues.

Law: an executor signs for the answer that it continues, so it takes nothing on the agent's word.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from p2p.base.errors import RemoteProtocolError
from p2p.base.genesis import ModelSpec
from p2p.base.token_ids import unpack_ids
from p2p.verification.streamed import wrong_handover
from p2p.wire.frames import Forward


def wrong_beginning(
    forward: Forward, begun: Sequence[int], spec: ModelSpec, ends: Collection[int], drawn: Sequence[bytes], me: bytes
) -> str:
    """Why the executor `me` must not continue from the tokens that client and agent hand over; '' if it may. begun:
    those of the client, from an earlier request. ends: tokens that end an answer. drawn: executors in the order in
    which they are asked."""
    request = forward.signed_request.request
    try:
        prefix = unpack_ids(forward.prefix, "prefix")
    except RemoteProtocolError as error:
        return error.message
    if any(token in ends for token in (*begun, *prefix)) or len(prefix) >= request.max_tokens:
        return "the tokens so far are a whole answer, or continue after its end"
    if any(token >= spec.vocabulary for token in (*begun, *prefix)):
        return "the tokens so far are not all in this model's vocabulary"
    if not prefix and not forward.taken:
        return ""
    inference_id = forward.signed_request.inference_id
    return wrong_handover(forward.taken, prefix, request.network, inference_id, drawn, me) or ""
