"""Whether a question can be asked at all. Law: what is the caller's to correct is told here by its name, before a peer
sees anything of it and before anything is signed."""

from __future__ import annotations

from p2p.base.body import Chat, check_body
from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest
from p2p.base.sampling_params import check_params
from p2p.base.serving_limits import MAX_BODY, MAX_OUTPUT_TOKENS, MAX_STOP, MAX_STOPS
from p2p.client.question import Question


def encoded(question: Question) -> bytes:
    """The body as it is sent. Raises InvalidRequest naming what is wrong with the question."""
    body = question.body
    if not 1 <= question.max_tokens <= MAX_OUTPUT_TOKENS:
        raise InvalidRequest(f"must be from 1 to {MAX_OUTPUT_TOKENS}, not {question.max_tokens}", field="max_tokens")
    if question.max_price_micro is not None and question.max_price_micro < 1:
        raise InvalidRequest(f"must be above 0, not {question.max_price_micro}", field="max_price_micro")
    check_params(question.params)
    if isinstance(body.prompt, Chat) and not body.prompt.messages:
        raise InvalidRequest("has no messages; send at least one", field="messages")
    if len(body.stop) > MAX_STOPS or not all(1 <= len(stop) <= MAX_STOP for stop in body.stop):
        raise InvalidRequest(f"at most {MAX_STOPS} stop strings, of 1 to {MAX_STOP} characters each", field="stop")
    check_body(body)
    try:
        raw = encode(body)
    except UnicodeEncodeError as error:
        raise InvalidRequest("a text holds half of a surrogate pair, which is no text", field="body") from error
    if len(raw) > MAX_BODY:
        raise InvalidRequest(f"the question has {len(raw)} bytes; at most {MAX_BODY} are allowed", field="body")
    return raw
