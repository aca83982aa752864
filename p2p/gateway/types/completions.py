"""A request to /v1/completions: texts or tokens that the model continues, without a template.

Law: as in chat_completions.py. Log-probabilities of a prompt are refused: an answer's artifact has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from p2p.base.body import TextPrompt, TokenPrompt
from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_ANSWERS, MAX_BODY, MAX_VOCABULARY
from p2p.base.token_ids import TOKEN_BYTES, pack_ids
from p2p.gateway.core.fields import Fields, Refused
from p2p.gateway.core.request import GatewayRequest
from p2p.gateway.core.sampling import (
    REFUSED,
    read_bias,
    read_choices,
    read_guided,
    read_max_tokens,
    read_response_format,
    read_sampling,
    read_stop,
    read_top_logprobs,
)
from p2p.gateway.types.shared import Headers, include_usage, max_price, session_key, without_effect

DEFAULT_TOKENS = 16  # of an answer, as the API says
_MOST_LOGPROBS = 5  # the API's own bound
_MOST_IDS = MAX_BODY // TOKEN_BYTES
_REFUSED: Refused = REFUSED | {
    "suffix": (("",), "models here continue a text; they fill no gap"),
    "messages": ((), "conversations go to /v1/chat/completions"),
    "tools": (([],), "tools go to /v1/chat/completions"),
}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What is asked, and what is repeated before each answer."""

    request: GatewayRequest
    echo: tuple[str, ...]  # for each prompt; "" where nothing is repeated


def read(body: Fields, headers: Headers) -> CompletionRequest:
    """The request. Raises InvalidRequest that names the parameter."""
    body.refuse({name: how for name, how in _REFUSED.items() if name != "best_of" or not _all_are_shown(body)})
    prompts = _prompts(body)
    echo = body.flag("echo")
    logprobs = _logprobs(body)
    if echo and logprobs is not None:
        raise body.wrong(
            "echo", "log-probabilities of a prompt are not known: an answer's artifact holds its own tokens only; "
            "leave out echo or logprobs",
        )
    if echo and any(isinstance(prompt, TokenPrompt) for prompt in prompts):
        raise body.wrong("echo", "needs a prompt that is text; token ids are not turned back into text")
    sampled, most = read_sampling(body), read_max_tokens(body, ("max_tokens",))
    form, guided = read_response_format(body), read_guided(body)
    if form is not None and guided is not None:
        raise body.wrong("response_format", "an answer has one grammar; leave out the other one")
    if most is None and not sampled.ignore_eos:
        most = max(DEFAULT_TOKENS, sampled.params.min_tokens)
    request = GatewayRequest(
        model=body.need_text("model", MAX_NAME), prompts=prompts, prompt_field="prompt",
        params=sampled.params, seed=sampled.seed, ignore_eos=sampled.ignore_eos,
        stop=read_stop(body, most=4), bias=read_bias(body), grammar=form or guided,
        max_tokens=most, n=read_choices(body, len(prompts)), stream=body.flag("stream"),
        include_usage=include_usage(body), logprobs=logprobs, session_key=session_key(body, headers),
        max_price_micro=max_price(headers), ignored=without_effect(body, ()),
    )
    repeated = tuple(prompt.text if echo and isinstance(prompt, TextPrompt) else "" for prompt in prompts)
    return CompletionRequest(request, repeated)


def _all_are_shown(body: Fields) -> bool:
    """Whether `best_of` asks for no more answers than `n` shows: then there is none to choose."""
    return body.whole("best_of") == (body.whole("n") or 1)


def _prompts(body: Fields) -> tuple[TextPrompt | TokenPrompt, ...]:
    """A text, token ids, or a list of texts or of lists of token ids."""
    found = body.raw("prompt")
    if found is None:
        raise body.wrong("prompt", "is missing")
    if isinstance(found, str):
        return (_text(found, "prompt"),)
    items = body.items("prompt", _MOST_IDS)
    if not items:
        raise body.wrong("prompt", "is empty")
    if not isinstance(items[0][1], str | list):
        return (_tokens(found, "prompt"),)
    if len(items) > MAX_ANSWERS:
        raise body.wrong("prompt", f"has {len(items)} prompts; {MAX_ANSWERS} are allowed in one request")
    return tuple(_text(one, path) if isinstance(one, str) else _tokens(one, path) for path, one in items)


def _text(text: str, path: str) -> TextPrompt:
    if not text:
        raise InvalidRequest("is empty; send a text that the model continues", field=path)
    if len(text.encode()) > MAX_BODY:
        raise InvalidRequest(f"has more than {MAX_BODY} bytes", field=path)
    return TextPrompt(text)


def _tokens(ids: Any, path: str) -> TokenPrompt:
    if not isinstance(ids, list) or not ids:
        raise InvalidRequest("must be a text or a list of token ids", field=path)
    for at, one in enumerate(ids):
        if type(one) is not int or not 0 <= one < MAX_VOCABULARY:
            raise InvalidRequest(f"must be a token id from 0 to {MAX_VOCABULARY - 1}", field=f"{path}[{at}]")
    return TokenPrompt(pack_ids(ids))


def _logprobs(body: Fields) -> int | None:
    found = body.raw("logprobs")
    return None if found is False else read_top_logprobs(body, "logprobs", _MOST_LOGPROBS)
