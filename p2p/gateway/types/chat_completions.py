"""A request to /v1/chat/completions. Law: what changes the answer is read or refused; nothing is left out silently."""

from __future__ import annotations

from p2p.base.body import Chat, ChatMessage, Grammar, Role, Tool, ToolCall
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_CALLS, MAX_MESSAGES
from p2p.gateway.core.fields import Fields, Refused, as_object
from p2p.gateway.core.request import Calling, GatewayRequest
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
from p2p.gateway.types.choice import check_form, read_choice
from p2p.gateway.types.content import (
    check_messages,
    check_tools,
    make_tool,
    read_arguments,
    read_content,
    read_name,
    read_template_args,
    tool_objects,
)
from p2p.gateway.types.shared import Headers, include_usage, max_price, session_key, without_effect

_OPENAI_TOP = 20  # the API's own bound on top_logprobs
_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT,
          "tool": Role.TOOL}
_TEXTS = {"text": "text"}
_SAID = {"text": "text", "refusal": "refusal"}
_REFUSED: Refused = REFUSED | {
    "functions": (([],), "use tools"),
    "function_call": (("none",), "use tool_choice"),
    "audio": (({},), "answers are text"),
    "web_search_options": ((), "search yourself, or offer a tool that does"),
    "moderation": ((), "check the text yourself"),
    "echo": ((False,), "only /v1/completions repeats a prompt"),
}
_WITHOUT_EFFECT = ("reasoning_effort", "reasoning", "verbosity", "prediction")


def read(body: Fields, headers: Headers) -> GatewayRequest:
    """The request. Raises InvalidRequest that names the parameter."""
    body.refuse(_REFUSED)
    for path, kind in body.items("modalities", 8):
        if kind != "text":
            raise body.wrong(path, "answers are text")
    messages = check_messages(
        [_message(as_object(one, path)) for path, one in body.items("messages", MAX_MESSAGES)], "messages",
    )
    sampled, tools = read_sampling(body), _tools(body)
    calling, names, shown = read_choice(body, tools)
    form = _grammar(body, calling)
    continues = body.flag("continue_final_message")
    if continues and messages[-1].role is not Role.ASSISTANT:
        raise body.wrong("continue_final_message", "needs an assistant's message at the end")
    if not body.flag("add_generation_prompt", True) and not continues:
        raise body.wrong("add_generation_prompt", "an answer needs the beginning of its turn; leave this out")
    return GatewayRequest(
        model=body.need_text("model", MAX_NAME),
        prompts=(Chat(messages, shown, read_template_args(body), continues),),
        prompt_field="messages",
        params=sampled.params, seed=sampled.seed, ignore_eos=sampled.ignore_eos,
        stop=read_stop(body, most=4), bias=read_bias(body), grammar=form,
        tools=shown, calling=calling, call_names=names, one_call=not body.flag("parallel_tool_calls", True),
        max_tokens=read_max_tokens(body, ("max_completion_tokens", "max_tokens")),
        n=read_choices(body), stream=body.flag("stream"), include_usage=include_usage(body),
        logprobs=_logprobs(body), session_key=session_key(body, headers), max_price_micro=max_price(headers),
        ignored=without_effect(body, _WITHOUT_EFFECT),
    )


def _message(message: Fields) -> ChatMessage:
    role = _ROLES[message.one_of("role", tuple(_ROLES))]
    name = message.text("name")[:MAX_NAME]
    if role is Role.TOOL:
        return ChatMessage(role, read_content(message, "content", _TEXTS), (), read_name(message, "tool_call_id"), name)
    if role is not Role.ASSISTANT:
        return ChatMessage(role, read_content(message, "content", _TEXTS), name=name)
    message.refuse({"function_call": ((), "use tool_calls"), "audio": ((), "models here read text only")})
    calls = tuple(_call(one) for one in message.objects("tool_calls", MAX_CALLS))
    said = read_content(message, "content", _SAID, needed=not calls and not message.has("refusal"))
    return ChatMessage(role, said or message.text("refusal"), calls, name=name)


def _call(call: Fields) -> ToolCall:
    call.one_of("type", ("function",), "function")
    function = call.inner("function")
    if function is None:
        raise call.wrong("function", "is missing")
    return ToolCall(read_name(call, "id"), read_name(function, "name"), read_arguments(function))


def _tools(body: Fields) -> tuple[Tool, ...]:
    found = []
    for tool in tool_objects(body):
        tool.one_of("type", ("function",))
        function = tool.inner("function")
        if function is None:
            raise tool.wrong("function", "is missing")
        found.append(make_tool(function, "parameters"))
    return check_tools(tuple(found), "tools")


def _grammar(body: Fields, calling: Calling) -> Grammar | None:
    form, guided = read_response_format(body), read_guided(body)
    if form is not None and guided is not None:
        raise body.wrong("response_format", "an answer has one grammar; leave out the other one")
    return check_form(body, "response_format", form or guided, calling)


def _logprobs(body: Fields) -> int | None:
    top = read_top_logprobs(body, "top_logprobs", _OPENAI_TOP)
    if body.flag("logprobs"):
        return top or 0
    if top:
        raise body.wrong("top_logprobs", "needs logprobs: true")
    return None
