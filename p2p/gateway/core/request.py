"""One request, whichever API it came by, and the questions that it becomes.

Law: whatever decides the answer is in the questions; whatever does not is only for the adapters. What does not fit the
model is refused before anything is signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from p2p.base.body import Body, Chat, Grammar, TextPrompt, TokenPrompt, Tool, check_body
from p2p.base.errors import InvalidRequest
from p2p.base.sampling_params import check_params
from p2p.base.serving_limits import DEFAULT_ANSWER_TOKENS, MAX_OUTPUT_TOKENS
from p2p.base.types import Params
from p2p.gateway.core.backend import Asked, ModelCard, ModelText, ToolFormat
from p2p.gateway.core.refusals import TooLong
from p2p.verification.tape import seed_of

Prompt = Chat | TextPrompt | TokenPrompt


class Calling(StrEnum):
    """Whether the answer may call tools."""

    NONE = "none"
    AUTO = "auto"  # the model decides
    REQUIRED = "required"  # one of `call_names`, at least one call


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRequest:
    """What a caller wants. Numbers are checked against their ranges, not yet against the model."""

    model: str
    prompts: tuple[Prompt, ...]  # each is answered `n` times
    prompt_field: str  # the caller's name of the parameter with the prompt: messages, prompt, input
    params: Params
    seed: int | None = None
    stop: tuple[str, ...] = ()
    bias: tuple[tuple[int, int], ...] = ()
    grammar: Grammar | None = None
    tools: tuple[Tool, ...] = ()  # that the answer may call
    calling: Calling = Calling.NONE
    call_names: tuple[str, ...] = ()  # where a call is required
    one_call: bool = False  # calls after the first are left out
    max_tokens: int | None = None
    ignore_eos: bool = False
    n: int = 1
    stream: bool = False
    include_usage: bool = False  # in the stream's last chunk
    logprobs: int | None = None  # so many alternatives are shown of each token; None: no log-probabilities at all
    session_key: str = ""  # the caller's name of the conversation; "": none
    max_price_micro: int | None = None
    ignored: tuple[str, ...] = ()  # parameters that were accepted and have no effect, for a header that says so

    @property
    def size(self) -> int:
        """Characters of the prompts, about: what making tokens of them costs."""
        return sum(
            sum(len(one.content) for one in prompt.messages) if isinstance(prompt, Chat)
            else len(prompt.text) if isinstance(prompt, TextPrompt) else 0
            for prompt in self.prompts
        )

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n * len(self.prompts)


def to_questions(
    request: GatewayRequest, card: ModelCard, text: ModelText, session: object = None,
) -> tuple[Asked, ...]:
    """The questions, `n` for each prompt in order. session: the conversation of the request.

    Raises InvalidRequest that names the parameter, and TooLong.
    """
    check_params(request.params)
    grammar = _grammar(request, text)
    for token, _ in request.bias:
        if token >= card.vocabulary:
            raise InvalidRequest(f"{token} is no token of {card.name}; ids are below {card.vocabulary}",
                                 field="logit_bias")
    questions: list[Asked] = []
    for prompt in request.prompts:
        if isinstance(prompt, Chat) and not card.has_template:
            raise InvalidRequest(
                f"{card.name} has no chat template and takes no conversations; use /v1/completions", field="model",
            )
        body = Body(prompt, request.stop, request.bias, grammar)
        check_body(body)
        used = len(text.prompt(body))
        most = _most(request, card, used)
        for at in range(request.n):
            params = _params(request, at, most)
            questions.append(Asked(
                request.model, body, params, most, used, session, request.logprobs is not None,
                request.max_price_micro,
            ))
    return tuple(questions)


def tool_format(request: GatewayRequest, text: ModelText) -> ToolFormat | None:
    """How calls are written in the answer; None where none may come. Raises InvalidRequest(field='tools')."""
    if request.calling is Calling.NONE:
        return None
    if text.tools is None:
        raise InvalidRequest(
            f"{request.model} does not call tools; ask a model whose tool_format in /v1/models is not none, or "
            "describe the answer with a response format", field="tools", code="unsupported_parameter",
        )
    return text.tools


def _grammar(request: GatewayRequest, text: ModelText) -> Grammar | None:
    found = tool_format(request, text)
    if found is None:
        return request.grammar
    if request.calling is Calling.REQUIRED:
        return found.call_grammar(request.tools, request.call_names)
    if request.grammar is None:
        return None
    both = found.call_or_form(request.tools, request.grammar)
    if both is None:
        raise InvalidRequest(
            f"an answer of {request.model} that has this form cannot call tools; set tool_choice to none, or leave out "
            "one of both (a JSON schema or a choice goes together with tools where a model's tool_format in /v1/models "
            "is hermes or mistral)", field="tools", code="unsupported_parameter",
        )
    return both


def _most(request: GatewayRequest, card: ModelCard, used: int) -> int:
    """Tokens of the answer at most: what the caller says or DEFAULT_ANSWER_TOKENS, within the context's room."""
    room = min(card.context_tokens - used, MAX_OUTPUT_TOKENS)
    if room < 1:
        raise TooLong(
            f"the prompt has {used} tokens, and the context of {card.name} is {card.context_tokens} with the answer; "
            "shorten the prompt", field=request.prompt_field,
        )
    least = request.params.min_tokens
    if least > room:
        raise TooLong(f"an answer of {least} tokens does not fit: there is room for {room}", field="min_tokens")
    return min(max(DEFAULT_ANSWER_TOKENS, least) if request.max_tokens is None else request.max_tokens, room)


def _params(request: GatewayRequest, at: int, most: int) -> Params:
    """The parameters of the answer number `at`: each of several has a seed of its own."""
    params = request.params
    if request.ignore_eos:
        params = replace(params, min_tokens=most)
    return params if request.seed is None else replace(params, seed=seed_of(request.seed + at))
