"""Which tools an answer may or must call, in OpenAI's words. Law: a choice that no tool fits is refused."""

from __future__ import annotations

from p2p.base.body import Grammar, Tool
from p2p.base.serving_limits import MAX_TOOLS
from p2p.gateway.core.fields import Fields
from p2p.gateway.core.request import Calling
from p2p.gateway.types.content import known_tool, read_name


def read_choice(body: Fields, tools: tuple[Tool, ...]) -> tuple[Calling, tuple[str, ...], tuple[Tool, ...]]:
    """(whether tools may be called, which ones must be, which ones the model is shown)."""
    found = body.raw("tool_choice")
    if found is not None and not isinstance(found, dict):
        body.one_of("tool_choice", ("none", "auto", "required"))
    if not tools:
        if found not in (None, "none", "auto"):
            raise body.wrong("tool_choice", "needs tools")
        return Calling.NONE, (), ()
    every = tuple(tool.name for tool in tools)
    if found == "none":
        return Calling.NONE, (), ()
    if found == "required":
        return Calling.REQUIRED, every, tools
    if not isinstance(found, dict):
        return Calling.AUTO, (), tools
    choice = Fields(found, "tool_choice")
    if choice.one_of("type", ("function", "allowed_tools")) == "function":
        function = choice.inner("function") or choice  # /v1/responses has the name beside the type
        name = known_tool(read_name(function, "name"), tools, function.at("name"))
        return Calling.REQUIRED, (name,), tools
    return _allowed_tools(choice.inner("allowed_tools") or choice, tools)


def _allowed_tools(choice: Fields, tools: tuple[Tool, ...]) -> tuple[Calling, tuple[str, ...], tuple[Tool, ...]]:
    """A choice among some of the tools: the model is shown no others."""
    mode = choice.one_of("mode", ("auto", "required"), "auto")
    names = []
    for one in choice.objects("tools", MAX_TOOLS):
        function = one.inner("function") or one
        names.append(known_tool(read_name(function, "name"), tools, function.at("name")))
    if not names:
        raise choice.wrong("tools", "names no tool")
    shown = tuple(tool for tool in tools if tool.name in names)
    if mode == "required":
        return Calling.REQUIRED, tuple(tool.name for tool in shown), shown
    return Calling.AUTO, (), shown


def form_beside_calls(name: str, form: Grammar | None, calling: Calling) -> tuple[Grammar | None, tuple[str, ...]]:
    """(the answer's form, what of it has no effect). Where a call is required, the call is the answer, and has no text
    of that form. name: of the parameter."""
    return (None, (name,)) if form is not None and calling is Calling.REQUIRED else (form, ())
