"""The content of messages: texts, and parts of which only text is supported. Law: a part that cannot be read is
refused by its path; none is left out silently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2p.base.body import ChatMessage, Role, Tool, ToolCall
from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import MAX_CALLS, MAX_MESSAGES, MAX_TEMPLATE_ARGS, MAX_TOOLS
from p2p.gateway.core.fields import Fields, as_json, as_object, kind_of

JOINT = "\n"  # between the text parts of one message
_NO_EYES = "models here read text only; describe it in words"
_PARTS = {
    "image_url": _NO_EYES, "input_image": _NO_EYES, "image": _NO_EYES, "input_audio": _NO_EYES, "audio": _NO_EYES,
    "video_url": _NO_EYES, "file": "send the file's text", "input_file": "send the file's text",
    "document": "send the document's text",
}


def read_content(message: Fields, name: str, texts: Mapping[str, str], *, needed: bool = True) -> str:
    """A text, or a list of parts whose texts are joined. texts: kind of part -> name of its text."""
    found = message.raw(name)
    if found is None:
        if needed:
            raise message.wrong(name, "is missing")
        return ""
    if isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise message.wrong(name, f"must be a text or a list of parts, not {kind_of(found)}")
    return JOINT.join(read_part(as_object(part, path), texts) for path, part in message.items(name, MAX_MESSAGES))


def read_part(part: Fields, texts: Mapping[str, str]) -> str:
    """The text of one part."""
    kind = part.text("type") or next(iter(texts))
    if kind not in texts:
        raise refused_part(part, texts)
    return part.text(texts[kind]) if part.has(texts[kind]) else _missing(part, texts[kind])


def refused_part(part: Fields, known: Mapping[str, object]) -> InvalidRequest:
    """The error about a part of another kind."""
    kind = part.text("type")
    advice = _PARTS.get(kind, f"supported here: {', '.join(known)}")
    return InvalidRequest(
        f"{kind[:40]!r} is not supported; {advice}", field=part.at("type"), code="unsupported_content",
    )


def _missing(part: Fields, name: str) -> str:
    raise part.wrong(name, "is missing")


def read_name(fields: Fields, name: str) -> str:
    """A name that must be there: of a tool, or the id of a call."""
    return fields.need_text(name, MAX_NAME)


def read_arguments(call: Fields, name: str = "arguments") -> str:
    """A call's arguments, a text with JSON."""
    return call.text(name) or "{}"


def make_tool(function: Fields, schema: str) -> Tool:
    """A tool by name, description and JSON schema. schema: the name of the schema."""
    found = function.inner(schema)
    parameters = as_json(found.plain) if found is not None else '{"type":"object","properties":{}}'
    return Tool(read_name(function, "name"), function.text("description"), parameters)


def check_tools(tools: tuple[Tool, ...], path: str) -> tuple[Tool, ...]:
    """The tools, whose names differ."""
    names = [tool.name for tool in tools]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise InvalidRequest(f"two tools have the name {name!r}", field=f"{path}[{at}].name")
    return tools


def tool_objects(body: Fields) -> list[Fields]:
    """The tools as they were sent."""
    return body.objects("tools", MAX_TOOLS)


def known_tool(name: str, tools: tuple[Tool, ...], path: str) -> str:
    """A name that one of the tools has."""
    if name not in [tool.name for tool in tools]:
        raise InvalidRequest(f"no tool has the name {name[:MAX_NAME]!r}", field=path)
    return name


def check_messages(messages: list[ChatMessage], path: str) -> tuple[ChatMessage, ...]:
    """The conversation, which must have something in it."""
    if not messages:
        raise InvalidRequest("has no messages; send at least one", field=path)
    if len(messages) > MAX_MESSAGES:
        raise InvalidRequest(f"makes {len(messages)} messages; {MAX_MESSAGES} are allowed", field=path)
    if not any(one.content.strip() or one.calls for one in messages):
        raise InvalidRequest("every message is empty; ask something", field=path)
    return tuple(messages)


def add_call(messages: list[ChatMessage], call: ToolCall, path: str) -> None:
    """A call of the assistant, in its last message where that is the newest one."""
    last = messages[-1] if messages else None
    if last is None or last.role is not Role.ASSISTANT:
        messages.append(ChatMessage(Role.ASSISTANT, "", (call,)))
        return
    if len(last.calls) >= MAX_CALLS:
        raise InvalidRequest(f"more than {MAX_CALLS} calls in one message", field=path)
    messages[-1] = ChatMessage(Role.ASSISTANT, last.content, (*last.calls, call), name=last.name)


def read_template_args(body: Fields) -> str:
    """vLLM's chat_template_kwargs, as JSON."""
    found = body.inner("chat_template_kwargs")
    if found is None or not found.plain:
        return ""
    text = as_json(found.plain)
    if len(text) > MAX_TEMPLATE_ARGS:
        raise body.wrong("chat_template_kwargs", f"has {len(text)} characters; {MAX_TEMPLATE_ARGS} are allowed")
    return text


def metadata_session(body: Fields) -> str:
    """The conversation that `metadata` names, whichever of the usual names it uses; "" for none."""
    found: Any = body.raw("metadata")
    if not isinstance(found, dict):
        return ""
    names = ("session_id", "conversation_id", "thread_id", "session", "user_id")
    return next((found[name] for name in names if isinstance(found.get(name), str) and found[name]), "")
