"""A request to /v1/responses. Law: as in chat_completions.py; what Codex and the SDKs always send is decided here, one
by one.

`reasoning` items of earlier answers hold words that only another model can read: they are left out. Nothing else of the
input is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from p2p.base.body import Chat, ChatMessage, Grammar, GrammarKind, Role, Tool, ToolCall
from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_MESSAGES, MAX_TOOLS
from p2p.gateway.core.fields import Fields, Refused, as_object
from p2p.gateway.core.refusals import NotFound
from p2p.gateway.core.request import GatewayRequest
from p2p.gateway.core.sampling import (
    REFUSED,
    read_bias,
    read_guided,
    read_max_tokens,
    read_sampling,
    read_stop,
    read_top_logprobs,
    schema_grammar,
)
from p2p.gateway.types.choice import form_beside_calls, read_choice
from p2p.gateway.types.content import (
    add_call,
    check_messages,
    check_tools,
    make_tool,
    read_arguments,
    read_content,
    read_name,
    tool_objects,
)
from p2p.gateway.types.shared import Headers, max_price, session_key, without_effect

_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
_LOGPROBS = "message.output_text.logprobs"
_OPENAI_TOP = 20
_REFUSED: Refused = REFUSED | {
    "background": ((False,), "answers come while you wait; use stream"),
    "conversation": ((), "use previous_response_id, or send the earlier turns as input"),
    "prompt": ((), "send the prompt's text as instructions and input"),
    "moderation": ((), "check the text yourself"),
    "image": ((), "models here read text only"),
    "context_management": (([],), "shorten the input yourself"),
    "prewarm": ((False,), "send the whole request; the conversation's host has it in its cache for the next turn"),
    "n": ((1,), "ask again for another answer"),
    "messages": ((), "use input, or /v1/chat/completions"),
}
_WITHOUT_EFFECT = ("reasoning", "max_tool_calls", "access_programs", "prompt_cache_options", "prompt_cache_retention")
_NOT_FUNCTIONS = "only tools of type function are offered; offer a function that does it, and run it yourself"


class Earlier(Protocol):
    """Answers that are remembered."""

    def conversation(self, response_id: str) -> tuple[ChatMessage, ...]:
        """The conversation up to the end of that response. Raises InvalidRequest."""
        ...

    def item(self, item_id: str) -> dict[str, Any] | None:
        """An item of a response."""
        ...


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """What is asked, and what the answer repeats of it."""

    request: GatewayRequest
    turns: tuple[ChatMessage, ...]  # the conversation without instructions, for a later previous_response_id
    body: Fields
    store: bool


def read(body: Fields, headers: Headers, earlier: Earlier) -> ResponsesRequest:
    """The request. earlier: what `previous_response_id` and references name. Raises InvalidRequest, NotFound."""
    body.refuse(_REFUSED)
    turns: list[ChatMessage] = []
    if before := body.text("previous_response_id"):
        turns += earlier.conversation(before)
    ignored = [*without_effect(body, _WITHOUT_EFFECT), *_add_input(body, turns, earlier)]
    turns = list(check_messages(turns, "input"))
    said = body.text("instructions")
    messages = [ChatMessage(Role.SYSTEM, said), *turns] if said else turns
    sampled = read_sampling(body)
    tools, left_out = _tools(body)
    calling, names, shown = read_choice(body, tools)
    form, verbosity = _form(body)
    form, unused = form_beside_calls("text.format", form, calling)
    request = GatewayRequest(
        model=body.need_text("model", MAX_NAME), prompts=(Chat(tuple(messages), shown),), prompt_field="input",
        params=sampled.params, seed=sampled.seed, ignore_eos=sampled.ignore_eos,
        stop=read_stop(body), bias=read_bias(body), grammar=form,
        tools=shown, calling=calling, call_names=names, one_call=not body.flag("parallel_tool_calls", True),
        max_tokens=read_max_tokens(body, ("max_output_tokens",)), stream=body.flag("stream"), include_usage=True,
        logprobs=_logprobs(body), session_key=session_key(body, headers), max_price_micro=max_price(headers),
        ignored=(*ignored, *left_out, *verbosity, *unused),
    )
    body.one_of("truncation", ("auto", "disabled"), "disabled")
    return ResponsesRequest(request, tuple(turns), body, body.flag("store", True))


def _add_input(body: Fields, turns: list[ChatMessage], earlier: Earlier) -> list[str]:
    """Adds the input's messages to `turns`. Returns the paths of what is left out."""
    found = body.raw("input")
    if found is None:
        raise body.wrong("input", "is missing")
    if isinstance(found, str):
        turns.append(ChatMessage(Role.USER, found))
        return []
    left_out = []
    for path, value in body.items("input", MAX_MESSAGES):
        item = _referred(as_object(value, path), earlier)
        kind = item.text("type", "message")
        if kind == "reasoning":
            left_out.append(path)
        elif kind in _ITEMS:
            _ITEMS[kind](item, turns)
        else:
            raise InvalidRequest(f"{kind[:40]!r} is not supported; supported: {', '.join(_ITEMS)}",
                                 field=item.at("type"), code="unsupported_content")
    return left_out


def _referred(item: Fields, earlier: Earlier) -> Fields:
    """The item itself, where this is a reference to one of an earlier answer."""
    kind = item.text("type")
    if kind != "item_reference" and (kind or item.has("role") or not item.has("id")):
        return item
    wanted = item.need_text("id")
    found = earlier.item(wanted)
    if found is None:
        raise NotFound(
            f"no item {wanted[:80]!r} is remembered here (store: false, long ago, or before a restart); send the item "
            "itself", field=item.at("id"), code="item_not_found",
        )
    return Fields(found, item.path)


def _message(item: Fields, turns: list[ChatMessage]) -> None:
    role = _ROLES[item.one_of("role", tuple(_ROLES))]
    turns.append(ChatMessage(role, read_content(item, "content", _TEXTS)))


def _call(item: Fields, turns: list[ChatMessage]) -> None:
    add_call(turns, ToolCall(read_name(item, "call_id"), read_name(item, "name"), read_arguments(item)), item.path)


def _result(item: Fields, turns: list[ChatMessage]) -> None:
    turns.append(ChatMessage(Role.TOOL, read_content(item, "output", _TEXTS), (), read_name(item, "call_id")))


_ITEMS: dict[str, Callable[[Fields, list[ChatMessage]], None]] = {
    "message": _message, "function_call": _call, "function_call_output": _result,
}


def _tools(body: Fields) -> tuple[tuple[Tool, ...], list[str]]:
    """(functions, paths of tools that are left out). A web search that may not reach the web cannot be missed: Codex
    offers it always."""
    found, left_out = [], []
    for tool in tool_objects(body):
        kind = tool.text("type")
        if kind.startswith("web_search") and tool.raw("external_web_access") is False:
            left_out.append(tool.path)
        elif kind == "function":
            found.append(make_tool(tool.inner("function") or tool, "parameters"))
        elif kind == "namespace":  # a group of functions, as Codex offers them; the model sees the functions
            found += [make_tool(as_object(one, path), "parameters") for path, one in tool.items("tools", MAX_TOOLS)]
        else:
            raise InvalidRequest(f"{kind[:40]!r} is not supported; {_NOT_FUNCTIONS}", field=tool.at("type"),
                                 code="unsupported_parameter")
    return check_tools(tuple(found), "tools"), left_out


def _form(body: Fields) -> tuple[Grammar | None, list[str]]:
    """(`text.format` or a grammar in vLLM's words, paths without effect)."""
    text, guided = body.inner("text"), read_guided(body)
    if text is None:
        return guided, []
    ignored = list(without_effect(text, ("verbosity",)))
    form = text.inner("format")
    if form is None:
        return guided, ignored
    kind = form.one_of("type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return guided, ignored
    if guided is not None:
        raise form.wrong("type", "an answer has one grammar; leave out the other one")
    if kind == "json_object":
        return Grammar(GrammarKind.JSON_OBJECT, ""), ignored
    schema: Any = form.raw("schema")
    if schema is None:
        raise form.wrong("schema", "is missing")
    return schema_grammar(schema, form.at("schema")), ignored


def _logprobs(body: Fields) -> int | None:
    top = read_top_logprobs(body, "top_logprobs", _OPENAI_TOP)
    wanted = any(one == _LOGPROBS for _, one in body.items("include", 64))
    return (top or 0) if wanted or top else None
