"""A request to /v1/chat/completions. Law: what changes the answer is read or refused; nothing is left out silently.

Programs from before `tools` say `functions` and `function_call`: the same thing with one call at most, which is
answered in their words.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.body import Chat, ChatMessage, Grammar, Role, Tool, ToolCall
from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_CALLS, MAX_MESSAGES, MAX_TOOLS
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
from p2p.gateway.types.choice import form_beside_calls, read_choice
from p2p.gateway.types.content import (
    check_messages,
    check_tools,
    known_tool,
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
    "audio": (({},), "answers are text"),
    "web_search_options": ((), "search yourself, or offer a tool that does"),
    "moderation": ((), "check the text yourself"),
    "echo": ((False,), "only /v1/completions repeats a prompt"),
}
_WITHOUT_EFFECT = ("reasoning_effort", "reasoning", "verbosity", "prediction")
_NOT_FUNCTIONS = "only tools of type function are offered; offer a function that does it, and run it yourself"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked, and in which words a call is answered."""

    request: GatewayRequest
    functions: bool  # function_call instead of tool_calls


def read(body: Fields, headers: Headers) -> ChatRequest:
    """The request. Raises InvalidRequest that names the parameter."""
    body.refuse(_REFUSED)
    functions = _functions(body)
    for path, kind in body.items("modalities", 8):
        if kind != "text":
            raise body.wrong(path, "answers are text")
    messages = check_messages(_messages(body), "messages")
    sampled, tools = read_sampling(body), functions or _tools(body)
    calling, names, shown = _function_choice(body, tools) if functions else read_choice(body, tools)
    form, unused = _grammar(body, calling)
    continues = body.flag("continue_final_message") or _is_prefix(body)
    if continues and messages[-1].role is not Role.ASSISTANT:
        raise body.wrong("continue_final_message", "needs an assistant's message at the end")
    if not body.flag("add_generation_prompt", True) and not continues:
        raise body.wrong("add_generation_prompt", "an answer needs the beginning of its turn; leave this out")
    request = GatewayRequest(
        model=body.need_text("model", MAX_NAME),
        prompts=(Chat(messages, shown, read_template_args(body), continues),),
        prompt_field="messages",
        params=sampled.params, seed=sampled.seed, ignore_eos=sampled.ignore_eos,
        stop=read_stop(body, most=4), bias=read_bias(body), grammar=form,
        tools=shown, calling=calling, call_names=names,
        one_call=bool(functions) or not body.flag("parallel_tool_calls", True),
        max_tokens=read_max_tokens(body, ("max_completion_tokens", "max_tokens")),
        n=read_choices(body), stream=body.flag("stream"), include_usage=include_usage(body),
        logprobs=_logprobs(body), session_key=session_key(body, headers), max_price_micro=max_price(headers),
        ignored=(*without_effect(body, _WITHOUT_EFFECT), *unused),
    )
    return ChatRequest(request, bool(functions))


def _is_prefix(body: Fields) -> bool:
    """Whether the last message says itself that the answer continues it, as Mistral's and DeepSeek's clients do."""
    last = as_object(body.raw("messages")[-1], "messages")
    return last.raw("role") == "assistant" and last.raw("prefix") is True


def _messages(body: Fields) -> list[ChatMessage]:
    messages: list[ChatMessage] = []
    for path, one in body.items("messages", MAX_MESSAGES):
        message = as_object(one, path)
        if message.raw("role") == "function":
            messages.append(_function_result(message, messages))
        else:
            messages.append(_message(message))
    return messages


def _function_result(message: Fields, before: list[ChatMessage]) -> ChatMessage:
    """What a function returned: it names the function, not the call."""
    name = read_name(message, "name")
    ids = [call.id for one in before for call in one.calls if call.name == name]
    if not ids:
        raise message.wrong("name", "is no function that was called before")
    return ChatMessage(Role.TOOL, read_content(message, "content", _TEXTS), (), ids[-1], name)


def _message(message: Fields) -> ChatMessage:
    role = _ROLES[message.one_of("role", (*_ROLES, "function"))]
    name = message.text("name")[:MAX_NAME]
    if role is Role.TOOL:
        return ChatMessage(role, read_content(message, "content", _TEXTS), (), read_name(message, "tool_call_id"), name)
    if role is not Role.ASSISTANT:
        return ChatMessage(role, read_content(message, "content", _TEXTS), name=name)
    message.refuse({"audio": ((), "models here read text only")})
    calls = tuple(_call(one) for one in message.objects("tool_calls", MAX_CALLS))
    if (function := message.inner("function_call")) is not None and not calls:
        made = read_name(function, "name")
        calls = (ToolCall(f"call_{made}"[:MAX_NAME], made, read_arguments(function)),)
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
        kind = tool.text("type", "function")
        if kind != "function":
            raise InvalidRequest(f"{kind[:40]!r} is not supported; {_NOT_FUNCTIONS}", field=tool.at("type"),
                                 code="unsupported_parameter")
        function = tool.inner("function")
        if function is None:
            raise tool.wrong("function", "is missing")
        found.append(make_tool(function, "parameters"))
    return check_tools(tuple(found), "tools")


def _functions(body: Fields) -> tuple[Tool, ...]:
    """Tools in the words from before `tools`."""
    found = body.objects("functions", MAX_TOOLS)
    if found and body.raw("tools"):
        raise body.wrong("functions", "is an older name of tools; send one of both")
    if not found and body.raw("function_call") not in (None, "none", "auto"):
        raise body.wrong("function_call", "needs functions; for tools use tool_choice")
    if found and body.has("tool_choice"):
        raise body.wrong("tool_choice", "needs tools; for functions use function_call")
    return check_tools(tuple(make_tool(one, "parameters") for one in found), "functions")


def _function_choice(
    body: Fields, functions: tuple[Tool, ...],
) -> tuple[Calling, tuple[str, ...], tuple[Tool, ...]]:
    """As read_choice."""
    if isinstance(body.raw("function_call"), dict):
        choice = Fields(body.raw("function_call"), "function_call")
        name = known_tool(read_name(choice, "name"), functions, choice.at("name"))
        return Calling.REQUIRED, (name,), functions
    if body.one_of("function_call", ("none", "auto"), "auto") == "none":
        return Calling.NONE, (), ()
    return Calling.AUTO, (), functions


def _grammar(body: Fields, calling: Calling) -> tuple[Grammar | None, tuple[str, ...]]:
    """(the answer's form, what of it has no effect)."""
    form, guided = read_response_format(body), read_guided(body)
    if form is not None and guided is not None:
        raise body.wrong("response_format", "an answer has one grammar; leave out the other one")
    return form_beside_calls("response_format" if form else "structured_outputs", form or guided, calling)


def _logprobs(body: Fields) -> int | None:
    top = read_top_logprobs(body, "top_logprobs", _OPENAI_TOP)
    if body.flag("logprobs"):
        return top or 0
    if top:
        raise body.wrong("top_logprobs", "needs logprobs: true")
    return None
