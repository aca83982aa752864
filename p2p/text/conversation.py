"""A conversation as the variables that chat templates know.

Law: the names and shapes are those of Hugging Face's templates; every text that somebody else wrote passes `mark`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from p2p.base.body import Chat, ChatMessage, Tool, ToolCall
from p2p.base.errors import InvalidRequest
from p2p.base.json_text import read_json, read_object

Mark = Callable[[str], str]
OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"})


def variables(chat: Chat, mark: Mark, template_tokens: Mapping[str, str]) -> dict[str, Any]:
    """What the template of a conversation is rendered with.

    Raises InvalidRequest(field='template_args' | 'tools[0].parameters') for what is no JSON object, and for an argument
    with a name of ours.
    """
    args = read_object(chat.template_args, "template_args")
    if taken := sorted(args.keys() & (OURS | template_tokens.keys())):
        raise InvalidRequest(f"{taken[0]} is not for template_args: the request or the model says it",
                             field="template_args")
    tools = [_tool(tool, f"tools[{at}]", mark) for at, tool in enumerate(chat.tools)]
    return {
        **template_tokens,
        **{name: marked(value, mark) for name, value in args.items()},
        "messages": [_message(message, mark) for message in chat.messages],
        "tools": tools or None,
        "documents": None,
        "add_generation_prompt": not chat.continues,
    }


def marked(value: Any, mark: Mark) -> Any:
    """A JSON value with each of its texts marked."""
    if isinstance(value, str):
        return mark(value)
    if isinstance(value, list):
        return [marked(one, mark) for one in value]
    if isinstance(value, dict):
        return {mark(key): marked(one, mark) for key, one in value.items()}
    return value


def _message(message: ChatMessage, mark: Mark) -> dict[str, Any]:
    """Keys that say nothing are left out: templates ask `'tool_calls' in message`."""
    said: dict[str, Any] = {"role": message.role.value, "content": mark(message.content)}
    if message.calls:
        said["tool_calls"] = [_call(call, mark) for call in message.calls]
    if message.call_id:
        said["tool_call_id"] = mark(message.call_id)
    if message.name:
        said["name"] = mark(message.name)
    return said


def _call(call: ToolCall, mark: Mark) -> dict[str, Any]:
    function = {"name": mark(call.name), "arguments": marked(_arguments(call.arguments), mark)}
    return {"id": mark(call.id), "type": "function", "function": function}


def _arguments(text: str) -> Any:
    """An object where the text is one; the text itself where the model wrote something else."""
    try:
        value = read_json(text or "{}")
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def _tool(tool: Tool, field: str, mark: Mark) -> dict[str, Any]:
    parameters = read_object(tool.parameters, f"{field}.parameters", empty='{"type": "object", "properties": {}}')
    function = {
        "name": mark(tool.name), "description": mark(tool.description), "parameters": marked(parameters, mark),
    }
    return {"type": "function", "function": function}
