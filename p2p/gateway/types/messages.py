"""A request to /v1/messages, in Anthropic's words. Law: as in chat_completions.py; what Claude Code always sends is
decided here, one by one.

`cache_control` changes no answer. `thinking` blocks of earlier answers are left out, as the API itself does. A tool's
result that is an error says so in its text.
"""

from __future__ import annotations

from typing import Any

from p2p.base.body import Chat, ChatMessage, Grammar, Role, Tool, ToolCall
from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_MESSAGES
from p2p.gateway.core.fields import Fields, Refused, as_json, as_object
from p2p.gateway.core.refusals import Unthreaded
from p2p.gateway.core.request import Calling, GatewayRequest
from p2p.gateway.core.sampling import (
    REFUSED,
    read_bias,
    read_guided,
    read_max_tokens,
    read_sampling,
    read_stop,
    schema_grammar,
)
from p2p.gateway.types.choice import form_beside_calls
from p2p.gateway.types.content import (
    JOINT,
    add_call,
    check_messages,
    check_tools,
    known_tool,
    make_tool,
    read_content,
    read_name,
    read_part,
    refused_part,
    tool_objects,
)
from p2p.gateway.types.shared import Headers, max_price, session_key, without_effect

_TEXTS = {"text": "text"}
_THOUGHTS = ("thinking", "redacted_thinking")
_BLOCKS = ("text", "tool_use", "tool_result")
_REFUSED: Refused = REFUSED | {
    "mcp_servers": (([],), "offer the server's tools as tools, and call them yourself"),
    "container": ((), "offer a tool that runs code, and run it yourself"),
    "compaction": ((), "ask for a summary in words of your own"),
    "n": ((1,), "ask again for another answer"),
    "stop": (([],), "use stop_sequences"),
}
_WITHOUT_EFFECT = ("speed",)


def read(body: Fields, headers: Headers, *, counts_only: bool = False) -> GatewayRequest:
    """The request. counts_only: for count_tokens, which needs no max_tokens. Raises InvalidRequest."""
    body.refuse(_REFUSED)
    if body.has("thread"):
        raise Unthreaded("is not supported; send the whole conversation with each turn", field="thread")
    ignored = [*without_effect(body, _WITHOUT_EFFECT), *_thinking(body), *_context_edits(body)]
    if not counts_only and not body.has("max_tokens"):
        raise body.wrong("max_tokens", "is missing; say how many tokens the answer may have")
    messages = _system(body)
    for path, one in body.items("messages", MAX_MESSAGES):
        ignored += _add_message(as_object(one, path), messages)
    turns = check_messages(messages, "messages")
    tools = check_tools(tuple(_tool(one) for one in tool_objects(body)), "tools")
    calling, names, one_call = _choice(body, tools)
    shown = tools if calling is not Calling.NONE else ()
    form, effort = _form(body)
    form, unused = form_beside_calls("output_config.format", form, calling)
    sampled = read_sampling(body)
    return GatewayRequest(
        model=body.need_text("model", MAX_NAME),
        prompts=(Chat(turns, shown, "", turns[-1].role is Role.ASSISTANT and not turns[-1].calls),),
        prompt_field="messages", params=sampled.params, seed=sampled.seed, ignore_eos=sampled.ignore_eos,
        stop=read_stop(body, "stop_sequences"), bias=read_bias(body),
        grammar=form,
        tools=shown, calling=calling, call_names=names, one_call=one_call,
        max_tokens=read_max_tokens(body, ("max_tokens",)), stream=body.flag("stream"), include_usage=True,
        session_key=session_key(body, headers), max_price_micro=max_price(headers),
        ignored=(*ignored, *effort, *unused),
    )


def _system(body: Fields) -> list[ChatMessage]:
    said = read_content(body, "system", _TEXTS, needed=False)
    return [ChatMessage(Role.SYSTEM, said)] if said else []


def _add_message(message: Fields, messages: list[ChatMessage]) -> list[str]:
    """Adds what a message says. Results of tools come before the user's own words. Returns what is left out."""
    role = message.one_of("role", ("user", "assistant", "system"))
    if role == "system":
        messages.append(ChatMessage(Role.SYSTEM, read_content(message, "content", _TEXTS)))
        return []
    if not isinstance(message.raw("content"), list):
        messages.append(ChatMessage(Role(role), read_content(message, "content", _TEXTS)))
        return []
    left_out, texts, calls = [], [], []
    for part in message.objects("content", MAX_MESSAGES):
        kind = part.text("type", "text")
        if kind == "text":
            texts.append(read_part(part, _TEXTS))
        elif kind == "tool_use" and role == "assistant":
            calls.append((part, _tool_use(part)))
        elif kind == "tool_result" and role == "user":
            messages.append(_tool_result(part))
        elif kind in _THOUGHTS and role == "assistant":
            left_out.append(part.path)
        elif kind in _BLOCKS:
            raise part.wrong("type", f"a message of the {role} has no {kind}")
        else:
            raise refused_part(part, dict.fromkeys(_BLOCKS))
    if texts:
        messages.append(ChatMessage(Role(role), JOINT.join(texts)))
    elif role == "assistant" and calls:
        messages.append(ChatMessage(Role.ASSISTANT, ""))
    for part, call in calls:
        add_call(messages, call, part.path)
    return left_out


def _tool_use(part: Fields) -> ToolCall:
    given = part.inner("input")
    return ToolCall(read_name(part, "id"), read_name(part, "name"), "{}" if given is None else as_json(given.plain))


def _tool_result(part: Fields) -> ChatMessage:
    said = read_content(part, "content", _TEXTS, needed=False)
    return ChatMessage(
        Role.TOOL, f"Error: {said}" if part.flag("is_error") else said, (), read_name(part, "tool_use_id"),
    )


def _tool(tool: Fields) -> Tool:
    kind = tool.text("type", "custom")
    if kind != "custom":
        raise InvalidRequest(
            f"{kind[:40]!r} is not supported; offer a tool with an input_schema, and run it yourself",
            field=tool.at("type"), code="unsupported_parameter",
        )
    if not tool.has("input_schema"):
        raise tool.wrong("input_schema", "is missing")
    return make_tool(tool, "input_schema")


def _choice(body: Fields, tools: tuple[Tool, ...]) -> tuple[Calling, tuple[str, ...], bool]:
    """(whether tools may be called, which ones must be, whether only one call is wanted)."""
    choice = body.inner("tool_choice")
    if choice is None:
        return (Calling.AUTO if tools else Calling.NONE), (), False
    kind = choice.one_of("type", ("auto", "any", "tool", "none"))
    alone = choice.flag("disable_parallel_tool_use")
    if not tools and kind in ("any", "tool"):
        raise body.wrong("tool_choice", "needs tools")
    if not tools or kind == "none":
        return Calling.NONE, (), False
    if kind == "auto":
        return Calling.AUTO, (), alone
    if kind == "any":
        return Calling.REQUIRED, tuple(tool.name for tool in tools), alone
    return Calling.REQUIRED, (known_tool(read_name(choice, "name"), tools, choice.at("name")),), alone


def _thinking(body: Fields) -> list[str]:
    """`thinking` switched off, or left to a model that has none."""
    thinking = body.inner("thinking")
    if thinking is None:
        return []
    kind = thinking.one_of("type", ("disabled", "adaptive", "enabled", "between_tools"))
    if kind in ("enabled", "between_tools"):
        raise InvalidRequest(
            "is not supported: models here show no thinking of their own; send {\"type\": \"disabled\"} (Claude Code: "
            "MAX_THINKING_TOKENS=0)", field="thinking.type", code="unsupported_parameter",
        )
    return ["thinking"] if kind == "adaptive" else []


def _context_edits(body: Fields) -> list[str]:
    """Edits that only drop thinking, which is dropped anyway."""
    management = body.inner("context_management")
    if management is None:
        return []
    for edit in management.objects("edits", 16):
        if not edit.text("type").startswith("clear_thinking"):
            raise edit.wrong("type", "is not supported; shorten the conversation yourself")
    return []


def _form(body: Fields) -> tuple[Grammar | None, list[str]]:
    """(the schema in `output_config.format` or the older `output_format`, paths without effect)."""
    config = body.inner("output_config")
    ignored = list(without_effect(config, ("effort",))) if config is not None else []
    form = (config.inner("format") if config is not None else None) or body.inner("output_format")
    guided = read_guided(body)
    if form is None:
        return guided, ignored
    form.one_of("type", ("json_schema",))
    schema: Any = form.raw("schema")
    if schema is None:
        raise form.wrong("schema", "is missing")
    if guided is not None:
        raise form.wrong("type", "an answer has one grammar; leave out the other one")
    return schema_grammar(schema, form.at("schema")), ignored
