"""Random conversations, and the same ones as Hugging Face's tools take them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from p2p.base.body import Chat, ChatMessage, Role, Tool, ToolCall

# Letters that templates, tokenizers and signs may stumble over, the first signs themselves among them.
letters = st.sampled_from([*"ab XYZ<>|/_[]{}\"'\\\n\t.,1", "é", "猫", "\U0001f336", "\u2028", "\u00a0", "\U00020000",
                           "\U00020001", "\U000f0000", "\ufffd", "\u0301", "im", "<think>", "</think>", "end", "<|"])


def texts(extra: tuple[str, ...] = (), max_size: int = 12) -> st.SearchStrategy[str]:
    some = st.one_of(letters, st.text(max_size=6), *[st.just(word) for word in extra])
    return st.lists(some, max_size=max_size).map("".join)


@st.composite
def chats(draw: st.DrawFn, extra: tuple[str, ...] = ()) -> Chat:
    text, short = texts(extra), texts(extra, 3).map(lambda one: one[:40])
    messages = [ChatMessage(Role.SYSTEM, draw(text))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(ChatMessage(Role.USER, draw(text), name=draw(st.one_of(st.just(""), short))))
        calls = tuple(
            ToolCall(f"{draw(short)}c", f"{draw(short)}f", draw(st.one_of(
                text, st.dictionaries(short, text, max_size=2).map(lambda one: json.dumps(one, ensure_ascii=False)))))
            for _ in range(draw(st.integers(0, 2)))
        )
        messages.append(ChatMessage(Role.ASSISTANT, draw(text), calls))
        messages += [ChatMessage(Role.TOOL, draw(text), call_id=call.id) for call in calls]
    tools = tuple(
        Tool(f"{draw(short)}{at}", draw(text), json.dumps({
            "type": "object", "properties": {draw(short): {"type": "string", "description": draw(text)}}
        }))
        for at in range(draw(st.integers(0, 2)))
    )
    continues = draw(st.booleans())
    if continues:
        messages.append(ChatMessage(Role.ASSISTANT, draw(text)))
    return Chat(tuple(messages), tools, draw(st.sampled_from(["", '{"enable_thinking": false}'])), continues)


def as_dicts(chat: Chat) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Messages and tools, written here a second time."""
    messages: list[dict[str, Any]] = []
    for message in chat.messages:
        one: dict[str, Any] = {"role": str(message.role), "content": message.content}
        if message.calls:
            one["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": parsed(call.arguments)}}
                for call in message.calls
            ]
        if message.call_id:
            one["tool_call_id"] = message.call_id
        if message.name:
            one["name"] = message.name
        messages.append(one)
    tools = [
        {"type": "function", "function": {
            "name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}}
        for tool in chat.tools
    ]
    return messages, tools or None


def parsed(text: str) -> Any:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
