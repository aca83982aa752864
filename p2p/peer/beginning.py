"""Checks of a request's prompt, and of tokens that earlier executors streamed.

Law: an executor signs for the answer that it continues, so it takes nothing on the agent's word.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from p2p.base.errors import InvalidRequest
from p2p.base.genesis import ModelSpec
from p2p.base.keys import digest
from p2p.verification.streamed import wrong_handover
from p2p.wire.frames import Forward


def wrong_beginning(forward: Forward, spec: ModelSpec, ends: Collection[int], drawn: Sequence[bytes], me: bytes) -> str:
    """Why the executor `me` must not continue from the tokens that the agent hands over; '' if it may. ends: tokens
    that end an answer. drawn: executors in the order in which they are asked."""
    request = forward.signed_request.request
    if not forward.prefix and not forward.taken:
        return ""
    if len(forward.prefix) >= request.max_tokens or any(token in ends for token in forward.prefix):
        return "the tokens streamed so far are a whole answer, or continue after its end"
    if any(token >= spec.vocabulary for token in forward.prefix):
        return "the tokens streamed so far are not all in this model's vocabulary"
    inference_id = forward.signed_request.inference_id
    return wrong_handover(forward.taken, forward.prefix, request.network, inference_id, drawn, me) or ""


def check_prompt(prompt: str, prompt_hash: bytes) -> None:
    """The prompt must be the one the client signed. Raises InvalidRequest(field='prompt' | 'prompt_hash')."""
    if not prompt.strip():
        raise InvalidRequest("the prompt is empty; ask something", field="prompt")
    if digest(b"prompt", prompt.encode()) != prompt_hash:
        raise InvalidRequest("the prompt is not the one whose hash was signed", field="prompt_hash")
