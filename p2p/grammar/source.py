"""Every kind of grammar as one text in llguidance's Lark. Law: the text says all that a mask depends on.

Each text ends with `no_forcing`: a token is allowed by its bytes alone. Without that llguidance allows only the usual
tokens of a forced stretch, and what is allowed would depend on a tokenizer's merges.
"""

from __future__ import annotations

import json
import re

from llguidance import regex_to_lark

from p2p.base.body import Grammar, GrammarKind
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_PATTERN
from p2p.grammar.schema import any_object, parse_json, schema_text

# of a grammar's own options, the last one counts
_OPTIONS = '\n%llguidance {"no_forcing": true, "allow_invalid_utf8": false, "allow_initial_skip": false}\n'
_JSON = re.compile(r"%json\s*")


def lark_source(grammar: Grammar) -> str:
    """The grammar as Lark. Raises InvalidRequest(field='grammar')."""
    try:
        grammar.source.encode()
    except UnicodeEncodeError as error:
        raise wrong("the grammar holds half of a surrogate pair") from error
    made = {
        GrammarKind.JSON_SCHEMA: _schema, GrammarKind.JSON_OBJECT: _object, GrammarKind.REGEX: _regex,
        GrammarKind.CHOICE: _choice, GrammarKind.LARK: _lark,
    }[grammar.kind](grammar.source)
    return made + _OPTIONS


def wrong(why: str) -> InvalidRequest:
    """The error for a grammar that cannot be used. why: a sentence without its full stop."""
    return InvalidRequest(why, field="grammar")


def _schema(source: str) -> str:
    return f"start: %json {schema_text(parse_json(source, 'the JSON schema'))}"


def _object(source: str) -> str:
    if source:
        raise wrong("any JSON object has no source; use json_schema to say how it must look")
    return f"start: %json {any_object()}"


def _regex(source: str) -> str:
    _bounded(source, "a regex")
    if (len(source) - len(source.rstrip("\\"))) % 2:
        raise wrong("the regex ends with half of an escape: write \\\\ for a backslash")
    return f"start: /{regex_to_lark(source, 'dws')}/"  # \d, \w and \s are those of ASCII


def _choice(source: str) -> str:
    texts = parse_json(source, "the choice")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise wrong("a choice is a JSON array of texts, at least one, none of them empty")
    # one terminal: all texts are one automaton, however many they are
    return "CHOICE: " + " | ".join(map(_quoted, texts)) + "\nstart: CHOICE"


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise wrong("a choice holds half of a surrogate pair") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lark(source: str) -> str:
    """A grammar of the user's own. Its JSON schemas get the same checks and the same blanks as any."""
    if "%llguidance" in source:
        raise wrong("options (%llguidance) are set by the peer: leave them out")
    parts, own, at = list[str](), list[str](), 0
    while found := _JSON.search(source, at):
        try:
            value, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(source, found.end())
        except (ValueError, RecursionError) as error:
            raise wrong("each %json is followed by a JSON schema; inside a text write it as \"\\u0025json\"") from error
        own.append(source[at : found.start()])
        parts += [own[-1], "%json ", schema_text(value)]
        at = end
    _bounded("".join([*own, source[at:]]), "a grammar in Lark, its JSON schemas aside,")
    return "".join([*parts, source[at:]])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _bounded(source: str, what: str) -> None:
    if not source.strip():
        raise wrong(f"{what} is empty")
    if len(source) > MAX_PATTERN:
        raise wrong(f"{what} of {len(source)} characters; at most {MAX_PATTERN} are allowed")
