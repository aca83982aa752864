"""The grammar of one call, for requests that demand one, or that demand either one or an answer of a certain form.

Law: whatever the grammar lets through, the format's own parser reads as one call of an offered tool, or it has the
form.

Each tool's parameters are a JSON schema of their own, so that references inside it (`#/$defs/...`) stay right.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from p2p.base.body import Grammar, GrammarKind, Tool
from p2p.base.closed_schema import closed_schema
from p2p.base.errors import InvalidRequest
from p2p.base.json_text import read_object
from p2p.base.plain_schema import plain_schema
from p2p.base.serving_limits import MAX_GRAMMAR

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # as models learn it


def one_call(tools: Sequence[Tool], names: Collection[str], *, before: str, key: str, after: str) -> Grammar:
    """before, after: Lark expressions around the object; "": nothing. key: its word for the arguments. names: the
    tools that may be called; none: any.

    Raises InvalidRequest(field='tool_choice' | 'tools' | 'tools[0].parameters').
    """
    known = {tool.name: (at, tool) for at, tool in enumerate(tools)}
    if unknown := sorted(set(names) - known.keys()):
        raise InvalidRequest(f"there is no tool {unknown[0]!r} among those offered", field="tool_choice")
    if not known:
        raise InvalidRequest("no tool is offered, so none can be called", field="tool_choice")
    rules, calls = [], []
    for name, (at, tool) in known.items():
        if names and name not in names:
            continue
        schema = _schema(tool, f"tools[{at}].parameters")
        head = _quoted(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{key}": ')
        rules.append(f"call_{at}: {head} arguments_{at} {_quoted('}')}")
        rules.append(f"arguments_{at}: %json {json.dumps(schema, ensure_ascii=False)}")
        calls.append(f"call_{at}")
    start = " ".join(part for part in (before, "call", after) if part)
    source = "\n".join((f"start: {start}", f"call: {' | '.join(calls)}", *rules)) + "\n"
    if len(source) > MAX_GRAMMAR:
        raise InvalidRequest(
            f"the tools' parameters have more than {MAX_GRAMMAR} characters together; offer fewer tools", field="tools"
        )
    return Grammar(GrammarKind.LARK, source)


def call_or_form(call: Grammar, form: Grammar) -> Grammar | None:
    """The grammar of an answer that is either a call, by a grammar of `one_call`, or has this form. None where the
    form is written in a way that does not fit into another grammar (a regex, Lark), and where calls begin without a
    mark: a lexer cannot tell one from an answer in JSON."""
    if call.source.startswith("start: call\n"):
        return None
    start, colon, rest = call.source.partition("\n")
    source = f"start: one_call | form\none_{start.replace('start:', 'call:', 1)}{colon}{rest}"
    match form.kind:
        case GrammarKind.JSON_SCHEMA:
            source += f"form: %json {form.source}\n"
        case GrammarKind.JSON_OBJECT:
            source += 'form: %json {"type": "object"}\n'
        case GrammarKind.CHOICE:
            source += f"form: {' | '.join(map(_quoted, json.loads(form.source)))}\n"
        case _:
            return None
    if len(source) > MAX_GRAMMAR:
        raise InvalidRequest(
            f"the tools' parameters and the answer's form have more than {MAX_GRAMMAR} characters together; offer "
            "fewer tools", field="tools",
        )
    return Grammar(GrammarKind.LARK, source)


def _schema(tool: Tool, field: str) -> dict[str, Any]:
    schema = read_object(tool.parameters, field, empty='{"type": "object", "properties": {}}')
    plain = plain_schema(schema)
    return {"type": "object", **closed_schema(plain if isinstance(plain, dict) else schema), "x-guidance": _SPACING}


def _quoted(text: str) -> str:
    """A literal of Lark, which is written as a string of JSON."""
    return json.dumps(text, ensure_ascii=False)
